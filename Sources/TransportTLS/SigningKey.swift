// SigningKey: a private key in the process that holds it. GnuTLS signs with it, or libcrypto if it is an RSA key.

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
  private let rsa: RSASigner?
  /// True if libcrypto is not used for this key because a signature that it made is wrong.
  package let isLibcryptoWrong: Bool

  /// The signature, or the library's error code.
  package struct Answer {
    package var signature: [UInt8] = []
    package var code: Int32 = 0
    package var isByLibcrypto = false
  }

  /// Reads an unencrypted key, in PEM or DER. No system call but read(2) is made for it, besides those for memory.
  ///
  /// - Parameters:
  ///   - path: for the error.
  ///   - library: signs if it is an RSA key; nil for GnuTLS.
  package init(reading file: consuming Descriptor, path: String, library: CryptoLibrary? = nil) throws(TLSCredentialsError) {
    let own = try PrivateKey(CredentialFile(reading: file, path: path), path: path)
    guard let digest = own.publicKeyDigest else { throw .badKey(path: path, "its public key cannot be computed") }
    publicKeyDigest = digest
    key = try own.makeKey()
    var bits: UInt32 = 0
    algorithm = gnutls_privkey_get_pk_algorithm(key, &bits)
    self.bits = bits
    do throws(RSASigner.Refusal) {
      rsa = library == nil ? nil : try RSASigner.make(own, key, algorithm: algorithm, bits: bits)
      isLibcryptoWrong = false
    } catch {
      rsa = nil
      isLibcryptoWrong = error == .wrong
    }
  }

  deinit { gnutls_privkey_deinit(key) }

  /// True if it is an RSA key, for any signature or for PSS alone.
  package var isRSA: Bool {
    let algorithm = gnutls_pk_algorithm_t(UInt32(bitPattern: algorithm))
    return algorithm == GNUTLS_PK_RSA || algorithm == GNUTLS_PK_RSA_PSS
  }
  /// True if libcrypto signs with this key.
  package var isLibcryptoUsed: Bool { rsa != nil }

  package func sign(_ request: SignatureRequest) -> Answer {
    guard !request.octets.isEmpty, request.octets.count <= SignatureRequest.octetsLimit else {
      return Answer(code: GNUTLS_E_INVALID_REQUEST)
    }
    guard hasRightLength(request) else { return Answer(code: GNUTLS_E_INVALID_REQUEST) }
    if let signature = rsa?.sign(request) { return Answer(signature: signature, isByLibcrypto: true) }
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
    guard code >= 0, let data = made.data else { return Answer(code: code < 0 ? code : GNUTLS_E_INTERNAL_ERROR) }
    defer { shim_gnutls_free(data) }
    return Answer(signature: Array(UnsafeBufferPointer(start: data, count: Int(made.size))))
  }

  /// False for a digest of another length than its algorithm's. For PSS the library (3.7.9) reads that many octets whatever the length is:
  /// whoever asks for the signature of a short digest could find out what follows it in the memory of this process.
  private func hasRightLength(_ request: SignatureRequest) -> Bool {
    let algorithm = gnutls_sign_algorithm_t(UInt32(bitPattern: request.algorithm))
    guard request.isHash, algorithm != GNUTLS_SIGN_RSA_RAW else { return true }
    return request.octets.count == Int(gnutls_hash_get_len(gnutls_sign_get_hash_algorithm(algorithm)))
  }
}
