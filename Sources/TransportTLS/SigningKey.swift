// SigningKey: a private key in the process that holds it.

import CGnuTLS
package import Transport

/// A private key that signs what another process asks for, and does nothing else.
package final class SigningKey {
  private let key: gnutls_privkey_t
  /// The library's number of the algorithm of the public key.
  package let algorithm: Int32
  package let bits: UInt32
  /// SHA-256 of the public key (SubjectPublicKeyInfo).
  package let publicKeyDigest: [UInt8]

  /// Reads an unencrypted key, in PEM or DER. No system call but read(2) is made for it, besides those for memory.
  ///
  /// - Parameter path: for the error.
  package init(reading file: consuming Descriptor, path: String) throws(TLSCredentialsError) {
    let own = try PrivateKey(CredentialFile(reading: file, path: path), path: path)
    guard let digest = own.publicKeyDigest else { throw .badKey(path: path, "its public key cannot be computed") }
    publicKeyDigest = digest
    key = try own.makeKey()
    var bits: UInt32 = 0
    algorithm = gnutls_privkey_get_pk_algorithm(key, &bits)
    self.bits = bits
  }

  deinit { gnutls_privkey_deinit(key) }

  /// The signature, or the library's error code.
  package func sign(_ request: SignatureRequest) -> (signature: [UInt8], code: Int32) {
    guard !request.octets.isEmpty, request.octets.count <= SignatureRequest.octetsLimit else {
      return ([], GNUTLS_E_INVALID_REQUEST)
    }
    var octets = request.octets
    var made = gnutls_datum_t()
    let code = octets.withUnsafeMutableBufferPointer { octets -> CInt in
      var input = gnutls_datum_t(data: octets.baseAddress, size: UInt32(octets.count))
      let algorithm = gnutls_sign_algorithm_t(UInt32(bitPattern: request.algorithm))
      guard request.isHash else { return gnutls_privkey_sign_data2(key, algorithm, 0, &input, &made) }
      guard algorithm == GNUTLS_SIGN_RSA_RAW else { return gnutls_privkey_sign_hash2(key, algorithm, 0, &input, &made) }
      // PKCS #1: a DigestInfo, which the library pads.
      return gnutls_privkey_sign_hash(key, GNUTLS_DIG_UNKNOWN, GNUTLS_PRIVKEY_SIGN_FLAG_TLS1_RSA.rawValue, &input, &made)
    }
    guard code >= 0, let data = made.data else { return ([], code < 0 ? code : GNUTLS_E_INTERNAL_ERROR) }
    defer { shim_gnutls_free(data) }
    return (Array(UnsafeBufferPointer(start: data, count: Int(made.size))), 0)
  }
}
