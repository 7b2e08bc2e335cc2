// PeerCertificates: what a peer's Certificate message may make the library compute.
//
// A peer proves that it has the key of its certificate with a signature. The library verifies it inside one call, before
// it asks whether the certificate is trusted. The modulus and the exponent of an RSA key are whatever the peer writes: with
// 98,304 bits each, in a certificate of 25 KB, that takes minutes. Neither a deadline nor a signal ends such a call, and all
// other sessions of the process wait. So the message is examined before the library reads it. The keys of the rest of the
// chain are examined too: their sizes are not limited before its signatures are verified either.
//
// The time to parse a certificate grows with the square of its length. So certificates and their number are limited.
//
// Only keys of RSA, ECDSA with the library's curves, Ed25519 and Ed448 are accepted. The numbers of a DSA key are the peer's
// as well, and no profile has its signatures.
//
// An entry of a client must have no extension (RFC 8446, 4.4.2: only what the server asked for, and it asks for none). The
// library would accept an OCSP response there, and verify it with the keys of the certificates in it, which are the client's.
//
// Failure: a text for the operator, without octets of the peer. Every octet is hostile: each length is checked before use.

import CGnuTLS

package enum PeerCertificates {
  /// The maximum number of certificates in a message. The library verifies at most 16; a chain has 2 to 4.
  static let count = 10
  /// The longest certificate in octets. One with 100 names has about 5,000. One of 16,384 is parsed in 17 ms, one
  /// of 64,453 in 470 ms, several times in a session.
  static let certificate = 16_384
  /// All certificates of a message, in octets.
  static let octets = 32_768
  /// The longest modulus of an RSA key in bits.
  static let modulusBits = 8_192
  /// The longest public exponent of an RSA key in bits. Nearly all keys have 65,537; the longest known in use has 33 bits.
  static let exponentBits = 64

  /// Why a handshake message that was received must not reach the library; nil if it may.
  ///
  /// - Parameters:
  ///   - session: the session of the library.
  ///   - type: the type of the message.
  ///   - message: its contents, without its header.
  ///   - isServer: true if the peer is a server.
  package static func fault(
    _ session: OpaquePointer, received type: UInt32, _ message: UnsafeBufferPointer<UInt8>, isServer: Bool
  ) -> String? {
    switch type {
    // Never offered. The library (3.7.9) decompresses and uses one all the same.
    case GNUTLS_HANDSHAKE_COMPRESSED_CERTIFICATE_PKT.rawValue: "it is compressed"
    case GNUTLS_HANDSHAKE_CERTIFICATE_PKT.rawValue:
      fault(message, hasContext: gnutls_protocol_get_version(session).rawValue >= GNUTLS_TLS1_3.rawValue, isServer: isServer)
    default: nil
    }
  }

  /// - Parameter hasContext: true if the message has the form of TLS 1.3 (RFC 8446, 4.4.2), false for that of TLS 1.2 (RFC
  ///   5246, 7.4.2).
  static func fault(_ message: UnsafeBufferPointer<UInt8>, hasContext: Bool, isServer: Bool) -> String? {
    guard let (list, hasExtensions) = list(message, hasContext: hasContext) else { return "the message cannot be parsed" }
    guard isServer || !hasExtensions else { return "the message has extensions, which were not requested" }
    // Lengths first: nothing is computed for a message that is refused.
    guard list.count <= count else { return "more than \(count) certificates" }
    for certificate in list where certificate.count > self.certificate {
      return "it has \(certificate.count) octets, more than \(self.certificate)"
    }
    guard list.reduce(0, { $0 + $1.count }) <= octets else { return "more than \(octets) octets of certificates" }
    for certificate in list {
      if let fault = fault(of: certificate) { return fault }
    }
    return nil
  }

  /// The certificates of a message, at most one more than are accepted, and true if one has extensions; nil if it cannot
  /// be parsed.
  private static func list(
    _ message: UnsafeBufferPointer<UInt8>, hasContext: Bool
  ) -> ([UnsafeBufferPointer<UInt8>], hasExtensions: Bool)? {
    var rest = message[...]
    if hasContext { guard field(&rest, 1) != nil else { return nil } }
    guard var entries = field(&rest, 3), rest.isEmpty else { return nil }
    // Some clients of TLS 1.2 send one empty certificate in place of none; the library accepts that.
    if !hasContext, entries.elementsEqual([0, 0, 0]) { return ([], hasExtensions: false) }
    var list: [UnsafeBufferPointer<UInt8>] = []
    var hasExtensions = false
    while !entries.isEmpty, list.count <= count {
      guard let certificate = field(&entries, 3), !certificate.isEmpty else { return nil }
      if hasContext {
        guard let extensions = field(&entries, 2) else { return nil }
        if !extensions.isEmpty { hasExtensions = true }
      }
      list.append(UnsafeBufferPointer(rebasing: certificate))
    }
    return (list, hasExtensions)
  }

  /// Removes a field from the front: its length in so many octets, and its contents. nil if it is not complete.
  private static func field(
    _ rest: inout Slice<UnsafeBufferPointer<UInt8>>, _ width: Int
  ) -> Slice<UnsafeBufferPointer<UInt8>>? {
    guard rest.count >= width else { return nil }
    let length = rest.prefix(width).reduce(0) { $0 << 8 | Int($1) }
    rest = rest.dropFirst(width)
    guard rest.count >= length else { return nil }
    defer { rest = rest.dropFirst(length) }
    return rest.prefix(length)
  }

  /// What is wrong with the key of a certificate; nil if nothing.
  private static func fault(of certificate: UnsafeBufferPointer<UInt8>) -> String? {
    var created: gnutls_x509_crt_t?
    var allocated: gnutls_pubkey_t?
    guard gnutls_x509_crt_init(&created) >= 0, let parsed = created else { return "no memory" }
    defer { gnutls_x509_crt_deinit(parsed) }
    guard gnutls_pubkey_init(&allocated) >= 0, let key = allocated else { return "no memory" }
    defer { gnutls_pubkey_deinit(key) }
    var octets = gnutls_datum_t(data: UnsafeMutablePointer(mutating: certificate.baseAddress), size: UInt32(certificate.count))
    guard gnutls_x509_crt_import(parsed, &octets, GNUTLS_X509_FMT_DER) >= 0 else { return "a certificate cannot be parsed" }
    guard gnutls_pubkey_import_x509(key, parsed, 0) >= 0 else { return "its key is of no known kind" }
    switch gnutls_pk_algorithm_t(rawValue: UInt32(bitPattern: gnutls_pubkey_get_pk_algorithm(key, nil))) {
    case GNUTLS_PK_RSA, GNUTLS_PK_RSA_PSS: return faultOfRSA(key)
    // The curves are the library's.
    case GNUTLS_PK_ECDSA, GNUTLS_PK_EDDSA_ED25519, GNUTLS_PK_EDDSA_ED448: return nil
    default: return "its key is not of RSA, ECDSA or EdDSA"
    }
  }

  private static func faultOfRSA(_ key: gnutls_pubkey_t) -> String? {
    var (modulus, exponent) = (gnutls_datum_t(), gnutls_datum_t())
    let code = gnutls_pubkey_export_rsa_raw2(key, &modulus, &exponent, UInt32(GNUTLS_EXPORT_FLAG_NO_LZ.rawValue))
    defer {
      if let data = modulus.data { shim_gnutls_free(data) }
      if let data = exponent.data { shim_gnutls_free(data) }
    }
    guard code >= 0 else { return "its key is not usable" }
    if bits(modulus) > modulusBits { return "its RSA key has \(bits(modulus)) bits, more than \(modulusBits)" }
    if bits(exponent) > exponentBits { return "the exponent of its RSA key has \(bits(exponent)) bits, more than \(exponentBits)" }
    return nil
  }

  /// The length of a number without leading zeros.
  private static func bits(_ number: gnutls_datum_t) -> Int {
    let digits = UnsafeBufferPointer(start: number.data, count: Int(number.size)).drop { $0 == 0 }
    guard let first = digits.first else { return 0 }
    return digits.count * 8 - first.leadingZeroBitCount
  }
}
