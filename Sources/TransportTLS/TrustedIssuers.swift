// TrustedIssuers: the certificates of those who may issue the clients' certificates, read once for all server names.
//
// The library keeps copies with each set of certificates: it verifies chains with them, and sends their names to clients.

import CGnuTLS

/// The certificates of trusted issuers.
final class TrustedIssuers {
  /// Owned.
  private var list: [gnutls_x509_crt_t?] = []

  /// True if no certificate was found.
  var isEmpty: Bool { list.isEmpty }

  deinit {
    for certificate in list { gnutls_x509_crt_deinit(certificate) }
  }

  /// Reads one of the files of a folder. A file without a certificate is ignored.
  func add(optional file: consuming CredentialFile) {
    _ = add(file)
  }

  /// Reads the only file, which must have a certificate.
  func add(_ file: consuming CredentialFile, path: String) throws(TLSCredentialsError) {
    let code = add(file)
    guard code >= 0, !list.isEmpty else { throw .badTrust(path: path, code < 0 ? libraryText(code) : "no certificate found") }
  }

  /// Returns the library's code.
  private func add(_ file: consuming CredentialFile) -> CInt {
    var read: UnsafeMutablePointer<gnutls_x509_crt_t?>?
    var count: UInt32 = 0
    let form = file.form
    let code = file.withDatum { gnutls_x509_crt_list_import2(&read, &count, &$0, form, 0) }
    guard code >= 0, let read else { return code }
    list += UnsafeBufferPointer(start: read, count: Int(count))
    shim_gnutls_free(read)
    return code
  }

  /// Adds copies to credentials.
  func add(to certificates: gnutls_certificate_credentials_t) throws(TLSCredentialsError) {
    guard !list.isEmpty else { return }
    let code = gnutls_certificate_set_x509_trust(certificates, &list, CInt(list.count))
    guard code >= 0 else { throw .library(libraryText(code)) }
  }

  /// True if one of them has signed the list, which may have expired.
  ///
  /// Each is tried alone: of several with one name, such as the old and the new key of an issuer, the library tries the first only.
  func haveSigned(_ revocations: RevocationList) -> Bool {
    let age = GNUTLS_CERT_REVOCATION_DATA_SUPERSEDED.rawValue
    let invalid = GNUTLS_CERT_INVALID.rawValue
    return list.contains { certificate in
      var signer = certificate
      var fault: UInt32 = 0
      guard let certificate, gnutls_x509_crl_verify(revocations.list, &signer, 1, 0, &fault) >= 0 else { return false }
      guard let signed = revocations.signed else { return fault == 0 || fault == invalid | age }
      // Without its entries a list has another signature: that, and its age, are the only faults that it may have.
      guard fault & ~age == invalid | GNUTLS_CERT_SIGNATURE_FAILURE.rawValue else { return false }
      return TrustedIssuers.verify(signed.octets, signed.signature, signed.algorithm, with: certificate)
    }
  }

  private static func verify(
    _ octets: [UInt8], _ signature: [UInt8], _ algorithm: gnutls_sign_algorithm_t, with certificate: gnutls_x509_crt_t
  ) -> Bool {
    var made: gnutls_pubkey_t?
    guard gnutls_pubkey_init(&made) >= 0, let key = made else { return false }
    defer { gnutls_pubkey_deinit(key) }
    guard gnutls_pubkey_import_x509(key, certificate, 0) >= 0 else { return false }
    return RevocationList.withDatum(octets) { octets in
      RevocationList.withDatum(signature) { gnutls_pubkey_verify_data2(key, algorithm, 0, octets, $0) >= 0 }
    }
  }
}
