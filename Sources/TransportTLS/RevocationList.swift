// RevocationList: one revocation list (RFC 5280, 5.1), taken apart without the library, which needs a time that grows with the
// square of the number of entries that have extensions: more than 40 s for 21,000 entries, 1 MiB.
//
// The entries are read here. The library gets the list without them, and reads and judges the rest: issuer, dates, algorithm, the
// signer's rights. The signature is verified over the octets of the complete list.
//
// Contract: linear in the length. What is not plain DER of this form, or has no entries, is left to the library completely.
//
// Failure: the library's code.

import CGnuTLS
import Glibc

/// A list in the library's form, and what the library does not get of it.
final class RevocationList {
  /// The list; without its entries unless `parts` is nil.
  let list: gnutls_x509_crl_t
  /// The complete list in DER.
  let octets: [UInt8]
  /// Where its parts are; nil if `list` is complete.
  let parts: RevocationListParts?

  private init(_ list: gnutls_x509_crl_t, _ octets: [UInt8], _ parts: RevocationListParts?) {
    self.list = list
    self.octets = octets
    self.parts = parts
  }

  deinit { gnutls_x509_crl_deinit(list) }

  /// Reads a list in DER; nil, with the library's code, if it is none.
  static func read(_ octets: [UInt8], _ code: inout CInt) -> RevocationList? {
    if let parts = RevocationListParts(octets), let list = imported(parts.withoutEntries, &code) {
      let read = RevocationList(list, octets, parts)
      if read.algorithm != GNUTLS_SIGN_UNKNOWN, !read.isPSS || parts.saltLength != nil { return read }
    }
    return imported(octets, &code).map { RevocationList($0, octets, nil) }
  }

  /// With what it is signed.
  var algorithm: gnutls_sign_algorithm_t {
    gnutls_sign_algorithm_t(rawValue: gnutls_sign_algorithm_t.RawValue(max(0, gnutls_x509_crl_get_signature_algorithm(list))))
  }

  /// True if that is RSA-PSS, which has parameters.
  var isPSS: Bool { [GNUTLS_SIGN_RSA_PSS_SHA256, GNUTLS_SIGN_RSA_PSS_SHA384, GNUTLS_SIGN_RSA_PSS_SHA512].contains(algorithm) }

  /// True for a list of changes to another one (RFC 5280, 5.2.4): alone it says nothing of the certificates that are not in it.
  var isDelta: Bool {
    var index: UInt32 = 0
    var name = [CChar](repeating: 0, count: 128)
    while true {
      var size = name.count
      let code = gnutls_x509_crl_get_extension_info(list, index, &name, &size, nil)
      if code == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE { return false }
      if code >= 0, strcmp(name, "2.5.29.27") == 0 { return true }
      // One with a longer name is another one.
      guard code >= 0 || code == GNUTLS_E_SHORT_MEMORY_BUFFER else { return false }
      index += 1
    }
  }

  private static func imported(_ octets: [UInt8], _ code: inout CInt) -> gnutls_x509_crl_t? {
    var made: gnutls_x509_crl_t?
    code = gnutls_x509_crl_init(&made)
    guard code >= 0, let made else { return nil }
    code = withDatum(octets[...]) { gnutls_x509_crl_import(made, $0, GNUTLS_X509_FMT_DER) }
    if code >= 0 { return made }
    gnutls_x509_crl_deinit(made)
    return nil
  }

  /// The lists of a file in PEM or DER, each in DER, at least one.
  static func all(in file: borrowing CredentialFile, path: String) throws(TLSCredentialsError) -> [[UInt8]] {
    guard file.form == GNUTLS_X509_FMT_PEM else { return [file.withDatum { octets(of: $0) }] }
    let (begin, end): (StaticString, StaticString) = ("-----BEGIN X509 CRL-----", "-----END X509 CRL-----")
    var lists: [[UInt8]] = []
    var position = 0
    while let start = file.position(of: begin, from: position) {
      // One that cannot be read must not be missing.
      guard let last = file.position(of: end, from: start) else { throw .badRevocations(path: path, "a list without an end") }
      position = last + end.utf8CodeUnitCount
      var list = gnutls_datum_t()
      let code = file.withDatum { all in
        var block = gnutls_datum_t(data: all.data + start, size: UInt32(position - start))
        return gnutls_pem_base64_decode2("X509 CRL", &block, &list)
      }
      guard code >= 0 else { throw .badRevocations(path: path, libraryText(code)) }
      lists.append(octets(of: list))
      shim_gnutls_free(list.data)
    }
    guard !lists.isEmpty else { throw .badRevocations(path: path, "no list found") }
    return lists
  }

  private static func octets(of datum: gnutls_datum_t) -> [UInt8] {
    Array(UnsafeBufferPointer(start: datum.data, count: Int(datum.size)))
  }

  /// Passes octets in the library's form.
  static func withDatum<Result>(_ octets: ArraySlice<UInt8>, _ body: (UnsafePointer<gnutls_datum_t>) -> Result) -> Result {
    octets.withUnsafeBufferPointer {
      var datum = gnutls_datum_t(data: UnsafeMutablePointer(mutating: $0.baseAddress), size: UInt32($0.count))
      return body(&datum)
    }
  }
}
