// ForgedCertificate: certificates that no tool makes, and a client that sends them. Its signatures are octets without
// meaning, as nobody has the key.

import CGnuTLS

/// A certificate in DER whose key is chosen by a test; its own signature is worthless.
struct ForgedCertificate {
  let der: [UInt8]

  private static let sha256WithRSA = sequence([6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0b], [5, 0])

  /// - Parameter padding: the length of an extension that nobody knows.
  static func rsa(modulusBits: Int, exponentBits: Int = 17, padding: Int = 0) -> ForgedCertificate {
    let algorithm = sequence([6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1], [5, 0])
    return ForgedCertificate(algorithm, sequence(integer(bits: modulusBits), integer(bits: exponentBits)), padding)
  }

  static func dsa(bits: Int) -> ForgedCertificate {
    let numbers = sequence(integer(bits: bits), integer(bits: 256), integer(bits: bits))
    return ForgedCertificate(sequence([6, 7, 0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1], numbers), integer(bits: bits - 1), 0)
  }

  private init(_ algorithm: [UInt8], _ key: [UInt8], _ padding: Int) {
    typealias DER = ForgedCertificate
    let name = DER.sequence(DER.value(0x31, DER.sequence([6, 3, 0x55, 4, 3], DER.value(0x0c, [0x78]))))
    let validity = DER.sequence(DER.value(0x17, Array("250101000000Z".utf8)), DER.value(0x17, Array("450101000000Z".utf8)))
    let extensions = DER.sequence(DER.sequence([6, 3, 0x2a, 3, 4], DER.value(4, [UInt8](repeating: 0, count: padding))))
    let body = DER.sequence(
      DER.value(0xa0, [2, 1, 2]), [2, 1, 1], DER.sha256WithRSA, name, validity, name,
      DER.sequence(algorithm, DER.value(3, [0] + key)), padding == 0 ? [] : DER.value(0xa3, extensions))
    der = DER.sequence(body, DER.sha256WithRSA, DER.value(3, [0] + [UInt8](repeating: 1, count: 64)))
  }

  private static func value(_ tag: UInt8, _ contents: [UInt8]) -> [UInt8] {
    let count = contents.count
    let length: [UInt8] =
      count < 128 ? [UInt8(count)] : count < 65_536 ? [0x82, UInt8(count >> 8), UInt8(count & 255)] : [0x83, UInt8(count >> 16), UInt8(count >> 8 & 255), UInt8(count & 255)]
    return [tag] + length + contents
  }

  private static func sequence(_ parts: [UInt8]...) -> [UInt8] { value(0x30, parts.flatMap(\.self)) }

  /// An odd number of exactly so many bits.
  private static func integer(bits: Int) -> [UInt8] {
    var digits = (0..<(bits + 7) / 8).map { UInt8(truncatingIfNeeded: $0 &* 89 &+ 7) }
    let highest = UInt8(1) << UInt8((bits - 1) % 8)
    digits[0] = digits[0] & (highest - 1) | highest
    digits[digits.count - 1] |= 1
    return value(2, (digits[0] & 0x80 != 0 ? [0] : []) + digits)
  }
}

extension [ForgedCertificate] {
  /// Gives a client these certificates, and a key that signs nothing but looks as long as the first one's.
  ///
  /// - Returns: false if the library refuses to.
  func give(_ credentials: gnutls_certificate_credentials_t, signatureOctets: Int) -> Bool {
    var created: gnutls_privkey_t?
    guard gnutls_privkey_init(&created) >= 0, let key = created else { return false }
    let code = gnutls_privkey_import_ext4(
      key, UnsafeMutableRawPointer(bitPattern: signatureOctets),
      { _, _, context, _, _, signature in fill(signature, Int(bitPattern: context)) },
      { _, _, context, _, _, signature in fill(signature, Int(bitPattern: context)) },
      nil, nil, { _, flags, context in information(flags, Int(bitPattern: context)) }, 0)
    var chain = map { certificate in
      var parsed = gnutls_pcert_st()
      var octets = certificate.der
      octets.withUnsafeMutableBufferPointer {
        var datum = gnutls_datum_t(data: $0.baseAddress, size: UInt32($0.count))
        _ = gnutls_pcert_import_x509_raw(&parsed, &datum, GNUTLS_X509_FMT_DER, 0)
      }
      return parsed
    }
    gnutls_certificate_set_flags(credentials, UInt32(GNUTLS_CERTIFICATE_SKIP_KEY_CERT_MATCH.rawValue))
    return code >= 0 && gnutls_certificate_set_key(credentials, nil, 0, &chain, CInt(chain.count), key) >= 0
  }
}

private func fill(_ signature: UnsafeMutablePointer<gnutls_datum_t>?, _ count: Int) -> CInt {
  guard let signature, let memory = shim_gnutls_malloc(count) else { return GNUTLS_E_MEMORY_ERROR }
  let octets = memory.bindMemory(to: UInt8.self, capacity: count)
  octets.initialize(repeating: 0x11, count: count)
  signature.pointee = gnutls_datum_t(data: octets, size: UInt32(count))
  return 0
}

private func information(_ flags: UInt32, _ octets: Int) -> CInt {
  if flags & UInt32(GNUTLS_PRIVKEY_INFO_PK_ALGO) != 0 { return CInt(GNUTLS_PK_RSA.rawValue) }
  if flags & UInt32(GNUTLS_PRIVKEY_INFO_PK_ALGO_BITS) != 0 { return CInt(octets * 8) }
  guard flags & UInt32(GNUTLS_PRIVKEY_INFO_HAVE_SIGN_ALGO) != 0 else { return -1 }
  let algorithm = shim_gnutls_sign_algorithm(flags)
  return algorithm == GNUTLS_SIGN_RSA_PSS_RSAE_SHA256 || algorithm == GNUTLS_SIGN_RSA_SHA256 ? 1 : 0
}
