// RSASigner: signs with one RSA key by libcrypto.
//
// Contract: before it signs for clients it signs in each form that TLS asks for, and GnuTLS verifies these signatures with the
// public key. A form that libcrypto refuses for this key is left to GnuTLS. If one of the signatures is wrong, libcrypto is not
// used for this key.
//
// A wrong result of a computation with the primes would give the key away. libcrypto verifies it with the public key, and
// computes without the primes if it is wrong.

import CGnuTLS
import CLibcrypto

/// An RSA key in libcrypto's form.
final class RSASigner {
  /// Why libcrypto is not used for a key.
  enum Refusal: Error {
    /// It cannot read the key, or accepts no form for it.
    case unusable
    /// A signature that it made is wrong.
    case wrong
  }

  private let key: OpaquePointer
  private let length: Int
  /// The forms that were tried, by the library's numbers of signature algorithms.
  private var forms: [UInt32: libcrypto_form] = [:]

  /// The forms that TLS asks for: of a key for any RSA signature, and of one for PSS alone.
  private static func forms(of algorithm: gnutls_pk_algorithm_t) -> [(gnutls_sign_algorithm_t, libcrypto_form)] {
    switch algorithm {
    case GNUTLS_PK_RSA:
      [
        (GNUTLS_SIGN_RSA_RAW, LIBCRYPTO_PKCS1), (GNUTLS_SIGN_RSA_PSS_RSAE_SHA256, LIBCRYPTO_PSS_SHA256),
        (GNUTLS_SIGN_RSA_PSS_RSAE_SHA384, LIBCRYPTO_PSS_SHA384), (GNUTLS_SIGN_RSA_PSS_RSAE_SHA512, LIBCRYPTO_PSS_SHA512),
      ]
    case GNUTLS_PK_RSA_PSS:
      [
        (GNUTLS_SIGN_RSA_PSS_SHA256, LIBCRYPTO_PSS_SHA256), (GNUTLS_SIGN_RSA_PSS_SHA384, LIBCRYPTO_PSS_SHA384),
        (GNUTLS_SIGN_RSA_PSS_SHA512, LIBCRYPTO_PSS_SHA512),
      ]
    default: []
    }
  }

  /// - Parameters:
  ///   - own: the key, which is copied.
  ///   - signing: the same key in the form that signs.
  ///   - bits: of its modulus.
  /// - Returns: nil if it is no RSA key.
  static func make(
    _ own: borrowing PrivateKey, _ signing: gnutls_privkey_t, algorithm: Int32, bits: UInt32
  ) throws(Refusal) -> RSASigner? {
    let forms = forms(of: gnutls_pk_algorithm_t(UInt32(bitPattern: algorithm)))
    guard !forms.isEmpty else { return nil }
    guard let key = own.withStructure({ libcrypto_key_new($0, $1) }) else { throw .unusable }
    let signer = RSASigner(key, length: Int(bits + 7) / 8)
    try signer.check(forms, signing)
    return signer
  }

  private init(_ key: OpaquePointer, length: Int) {
    self.key = key
    self.length = length
  }

  deinit { libcrypto_key_free(key) }

  /// The signature; nil if libcrypto is not used for this request, or failed.
  func sign(_ request: SignatureRequest) -> [UInt8]? {
    guard request.isHash, let form = forms[UInt32(bitPattern: request.algorithm)] else { return nil }
    return sign(request.octets, form)
  }

  private func sign(_ octets: [UInt8], _ form: libcrypto_form) -> [UInt8]? {
    let signature = [UInt8](unsafeUninitializedCapacity: length) { buffer, count in
      count = libcrypto_sign(key, form, octets, octets.count, buffer.baseAddress, length)
    }
    return signature.count == length ? signature : nil
  }

  // MARK: The check

  private func check(_ wanted: [(gnutls_sign_algorithm_t, libcrypto_form)], _ signing: gnutls_privkey_t) throws(Refusal) {
    var created: gnutls_pubkey_t?
    guard gnutls_pubkey_init(&created) >= 0, let publicKey = created else { throw .unusable }
    defer { gnutls_pubkey_deinit(publicKey) }
    guard gnutls_pubkey_import_privkey(publicKey, signing, 0, 0) >= 0 else { throw .unusable }
    for (algorithm, form) in wanted {
      let digest = [UInt8](repeating: 0x5A, count: RSASigner.digestLength(form))
      let content = form == LIBCRYPTO_PKCS1 ? RSASigner.prefixOfSHA256 + digest : digest
      guard let signature = sign(content, form) else { continue }
      let verified = form == LIBCRYPTO_PKCS1 ? GNUTLS_SIGN_RSA_SHA256 : algorithm
      guard RSASigner.isRight(signature, of: digest, verified, publicKey) else { throw .wrong }
      forms[algorithm.rawValue] = form
    }
    guard !forms.isEmpty else { throw .unusable }
  }

  private static func digestLength(_ form: libcrypto_form) -> Int {
    switch form {
    case LIBCRYPTO_PSS_SHA384: 48
    case LIBCRYPTO_PSS_SHA512: 64
    default: 32
    }
  }

  /// The beginning of a DigestInfo with SHA-256 (RFC 8017, 9.2, note 1).
  private static let prefixOfSHA256: [UInt8] = [
    0x30, 0x31, 0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20,
  ]

  private static func isRight(
    _ signature: [UInt8], of digest: [UInt8], _ algorithm: gnutls_sign_algorithm_t, _ key: gnutls_pubkey_t
  ) -> Bool {
    var (digest, signature) = (digest, signature)
    return digest.withUnsafeMutableBufferPointer { digest in
      signature.withUnsafeMutableBufferPointer { signature in
        var hash = gnutls_datum_t(data: digest.baseAddress, size: UInt32(digest.count))
        var made = gnutls_datum_t(data: signature.baseAddress, size: UInt32(signature.count))
        return gnutls_pubkey_verify_hash2(key, algorithm, 0, &hash, &made) >= 0
      }
    }
  }
}
