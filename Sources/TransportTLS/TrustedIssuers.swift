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
      guard let parts = revocations.parts else { return fault == 0 || fault == invalid | age }
      // Without its entries a list has another signature: that, and its age, are the only faults that it may have.
      guard fault & ~age == invalid | GNUTLS_CERT_SIGNATURE_FAILURE.rawValue else { return false }
      return TrustedIssuers.verify(revocations, parts, with: certificate)
    }
  }

  /// Verifies the signature of a list over its octets.
  private static func verify(_ list: RevocationList, _ parts: RevocationListParts, with certificate: gnutls_x509_crt_t) -> Bool {
    var made: gnutls_pubkey_t?
    guard gnutls_pubkey_init(&made) >= 0, let key = made else { return false }
    defer { gnutls_pubkey_deinit(key) }
    guard gnutls_pubkey_import_x509(key, certificate, 0) >= 0, !list.isPSS || use(list, parts, in: key) else { return false }
    return RevocationList.withDatum(list.octets[parts.signed]) { octets in
      RevocationList.withDatum(list.octets[parts.signature]) { gnutls_pubkey_verify_data2(key, list.algorithm, 0, octets, $0) >= 0 }
    }
  }

  /// Gives a key the parameters of an RSA-PSS signature, without which the library assumes a salt as long as the digest.
  ///
  /// - Returns: false if the key has parameters itself and does not allow these (RFC 4055, 3.3).
  private static func use(_ list: RevocationList, _ parts: RevocationListParts, in key: gnutls_pubkey_t) -> Bool {
    var made: gnutls_x509_spki_t?
    guard let length = parts.saltLength, gnutls_x509_spki_init(&made) >= 0, let parameters = made else { return false }
    defer { gnutls_x509_spki_deinit(parameters) }
    let digest = gnutls_sign_get_hash_algorithm(list.algorithm)
    var own = (digest: GNUTLS_DIG_UNKNOWN, length: UInt32(0))
    if gnutls_pubkey_get_spki(key, parameters, 0) >= 0, gnutls_x509_spki_get_rsa_pss_params(parameters, &own.digest, &own.length) >= 0 {
      guard own.digest == GNUTLS_DIG_UNKNOWN || own.digest == digest && own.length <= length else { return false }
    }
    gnutls_x509_spki_set_rsa_pss_params(parameters, digest, UInt32(length))
    return gnutls_pubkey_set_spki(key, parameters, 0) >= 0
  }
}
