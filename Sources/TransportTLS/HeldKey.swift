// HeldKey: a private key that another process holds.
//
// The library signs with it through this value: it passes what is to be signed to that process and waits for the
// signature. Decryption, which only TLS without forward secrecy needs, is not supported: the handshake fails.

import CGnuTLS

/// What is public about a private key, and the way to have it sign.
package final class HeldKey {
  /// The library's number of the algorithm of the public key.
  package let algorithm: Int32
  package let bits: UInt32
  /// SHA-256 of the public key (SubjectPublicKeyInfo).
  package let publicKeyDigest: [UInt8]
  /// True if users other than its owner may read the file of the key.
  package let isExposed: Bool
  private let sign: (SignatureRequest) -> [UInt8]?

  /// - Parameter sign: has the other process sign; nil if that failed. It may wait for a limited time.
  package init(
    algorithm: Int32, bits: UInt32, publicKeyDigest: [UInt8], isExposed: Bool,
    sign: @escaping (SignatureRequest) -> [UInt8]?
  ) {
    self.algorithm = algorithm
    self.bits = bits
    self.publicKeyDigest = publicKeyDigest
    self.isExposed = isExposed
    self.sign = sign
  }

  /// The library's object for this key, which retains it; the caller ends it, or passes it on.
  func makeKey() throws(TLSCredentialsError) -> gnutls_privkey_t {
    var created: gnutls_privkey_t?
    var code = gnutls_privkey_init(&created)
    guard code >= 0, let key = created else { throw .library(libraryText(code)) }
    let context = Unmanaged.passRetained(self)
    code = gnutls_privkey_import_ext4(
      key, context.toOpaque(),
      { _, algorithm, context, _, data, signature in HeldKey.sign(algorithm, context, data, isHash: false, signature) },
      { _, algorithm, context, _, hash, signature in HeldKey.sign(algorithm, context, hash, isHash: true, signature) },
      nil,
      { _, context in if let context { Unmanaged<HeldKey>.fromOpaque(context).release() } },
      { _, flags, context in HeldKey.information(flags, context) }, 0)
    guard code >= 0 else {
      context.release()
      gnutls_privkey_deinit(key)
      throw .library(libraryText(code))
    }
    return key
  }

  /// Called by the library within a handshake. A failure ends the handshake with the alert internal_error.
  private static func sign(
    _ algorithm: gnutls_sign_algorithm_t, _ context: UnsafeMutableRawPointer?, _ octets: UnsafePointer<gnutls_datum_t>?, isHash: Bool,
    _ signature: UnsafeMutablePointer<gnutls_datum_t>?
  ) -> CInt {
    guard let context, let octets = octets?.pointee, let signature else { return GNUTLS_E_INTERNAL_ERROR }
    let key = Unmanaged<HeldKey>.fromOpaque(context).takeUnretainedValue()
    let request = SignatureRequest(
      algorithm: Int32(bitPattern: algorithm.rawValue), isHash: isHash,
      octets: Array(UnsafeBufferPointer(start: octets.data, count: Int(octets.size))))
    guard let made = key.sign(request), !made.isEmpty else { return GNUTLS_E_INTERNAL_ERROR }
    // The library frees it.
    guard let copy = shim_gnutls_malloc(made.count) else { return GNUTLS_E_MEMORY_ERROR }
    copy.copyMemory(from: made, byteCount: made.count)
    signature.pointee = gnutls_datum_t(data: copy.assumingMemoryBound(to: UInt8.self), size: UInt32(made.count))
    return GNUTLS_E_SUCCESS
  }

  private static func information(_ flags: UInt32, _ context: UnsafeMutableRawPointer?) -> CInt {
    guard let context else { return -1 }
    let key = Unmanaged<HeldKey>.fromOpaque(context).takeUnretainedValue()
    if flags & UInt32(GNUTLS_PRIVKEY_INFO_PK_ALGO) != 0 { return key.algorithm }
    if flags & UInt32(GNUTLS_PRIVKEY_INFO_PK_ALGO_BITS) != 0 { return CInt(key.bits) }
    if flags & UInt32(GNUTLS_PRIVKEY_INFO_HAVE_SIGN_ALGO) != 0 {
      let wanted = gnutls_pk_algorithm_t(UInt32(bitPattern: key.algorithm))
      return gnutls_sign_supports_pk_algorithm(shim_gnutls_sign_algorithm(flags), wanted) != 0 ? 1 : 0
    }
    return -1
  }
}

/// What a private key is to sign.
package struct SignatureRequest: Hashable, Sendable {
  /// More octets than TLS signs: the largest content, of TLS 1.2 with Ed25519, has less than 512.
  package static let octetsLimit = 1_024

  /// The library's number of the signature algorithm.
  package let algorithm: Int32
  /// True if the octets are a digest, or with PKCS #1 a DigestInfo; false if they are the data themselves, as for Ed25519.
  package let isHash: Bool
  package let octets: [UInt8]

  package init(algorithm: Int32, isHash: Bool, octets: [UInt8]) {
    self.algorithm = algorithm
    self.isHash = isHash
    self.octets = octets
  }
}

/// The private keys that another process holds, by the paths of their files.
package protocol KeyHolding {
  /// - Throws: `.unreadable`, `.tooLarge`, `.badKey`.
  func key(_ path: String) throws(TLSCredentialsError) -> HeldKey
}
