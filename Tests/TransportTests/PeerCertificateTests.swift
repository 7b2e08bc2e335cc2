// A client's certificate is examined before the library computes with its key: one with a key that takes seconds or minutes
// is refused with an alert, and all usual ones go on working.

@testable import TransportKit
import CGnuTLS
import Glibc
@testable import Transport
@testable import TransportTLS
import XCTest

final class PeerCertificateTests: XCTestCase {
  private static let versions = ["1.2", "1.3"].map { "NORMAL:-VERS-ALL:+VERS-TLS\($0):-GROUP-ALL:+GROUP-X25519" }

  /// The handshake with a client that has a certificate, until it has come to something.
  private func meet(
    _ priorities: String, _ identity: @escaping (gnutls_certificate_credentials_t) -> Void
  ) throws -> (outcome: TLSHandshake, stream: GnuTLSStream, alert: gnutls_alert_description_t) {
    try withFolder { folder, answer in
      let pair = try SelfSigned.pair(in: folder, names: ["localhost"])
      let credentials = try TLSCredentials([pair], clients: ClientCertificates(.reported, trust: .file(pair.certificate)))
      let ends = try Kernel.socketPair()
      let end = FarEnd(socket: ends.1)
      let stream = try GnuTLSStream(credentials)
      stream.attach(Descriptor(adopting: ends.0))
      let tunnel = TLSTunnel(end, priorities: priorities, identity: identity)
      var outcome = TLSHandshake.wouldBlock
      for _ in 0..<200 where outcome == .wouldBlock {
        while end.step() || tunnel.step() {}
        outcome = stream.handshake()
      }
      while end.step() || tunnel.step() {}
      answer((outcome, stream, gnutls_alert_get(tunnel.session)))
    }
  }

  private func withFolder<T>(_ body: (String, (T) -> Void) throws -> Void) throws -> T {
    var result: T?
    try TransportTests.withFolder { folder in try body(folder) { result = $0 } }
    return try XCTUnwrap(result)
  }

  private func assertRefused(_ chain: [ForgedCertificate], _ fault: String, file: StaticString = #filePath, line: UInt = #line) throws {
    for version in Self.versions {
      let (outcome, stream, alert) = try meet(version) { XCTAssertTrue(chain.give($0, signatureOctets: 256)) }
      XCTAssertEqual(
        outcome, .failed("TLS handshake: the client's certificate is not accepted: \(fault)"), version, file: file, line: line)
      XCTAssertEqual(stream.alert?.name, "bad_certificate", version, file: file, line: line)
      XCTAssertEqual(alert, GNUTLS_A_BAD_CERTIFICATE, version, file: file, line: line)
    }
  }

  func testKeysThatTakeTooLong() throws {
    try assertRefused([.rsa(modulusBits: 8_193)], "its RSA key has 8193 bits, more than 8192")
    try assertRefused([.rsa(modulusBits: 2_048, exponentBits: 65)], "the exponent of its RSA key has 65 bits, more than 64")
    // Minutes, without the limit.
    try assertRefused([.rsa(modulusBits: 98_304, exponentBits: 98_303)], "it has 24786 octets, more than 16384")
  }

  func testTheRestOfTheChain() throws {
    let first = ForgedCertificate.rsa(modulusBits: 2_048)
    try assertRefused([first, .rsa(modulusBits: 8_193)], "its RSA key has 8193 bits, more than 8192")
    try assertRefused([first, first, .dsa(bits: 3_072)], "its key is not of RSA, ECDSA or EdDSA")
    try assertRefused([ForgedCertificate](repeating: first, count: 11), "more than 10 certificates")
    let long = ForgedCertificate.rsa(modulusBits: 2_048, padding: 15_000)
    try assertRefused([first, long, long, long], "more than 32768 octets of certificates")
  }

  /// At the limits the library verifies the signature, which is wrong.
  func testTheLimitsThemselves() throws {
    for version in Self.versions {
      let chain = [ForgedCertificate.rsa(modulusBits: 8_192, exponentBits: 64)] + [ForgedCertificate](repeating: .rsa(modulusBits: 2_048), count: 9)
      let (outcome, stream, _) = try meet(version) { XCTAssertTrue(chain.give($0, signatureOctets: 1_024)) }
      XCTAssertEqual(outcome, .failed("TLS handshake: Public key signature verification has failed."), version)
      XCTAssertEqual(stream.alert?.name, "decrypt_error", version)
    }
  }

  func testUsualKeys() throws {
    let kinds = [
      (GNUTLS_PK_RSA, 2_048), (GNUTLS_PK_ECDSA, shim_gnutls_curve_bits(GNUTLS_ECC_CURVE_SECP256R1)),
      (GNUTLS_PK_ECDSA, shim_gnutls_curve_bits(GNUTLS_ECC_CURVE_SECP521R1)),
      (GNUTLS_PK_EDDSA_ED25519, shim_gnutls_curve_bits(GNUTLS_ECC_CURVE_ED25519)),
    ]
    for (kind, size) in kinds {
      var privateKey: gnutls_x509_privkey_t?
      var certificate: gnutls_x509_crt_t?
      gnutls_x509_privkey_init(&privateKey)
      gnutls_x509_crt_init(&certificate)
      defer {
        gnutls_x509_privkey_deinit(privateKey)
        gnutls_x509_crt_deinit(certificate)
      }
      XCTAssertEqual(gnutls_x509_privkey_generate(privateKey, kind, size, 0), 0)
      gnutls_x509_crt_set_version(certificate, 3)
      gnutls_x509_crt_set_serial(certificate, [1], 1)
      gnutls_x509_crt_set_activation_time(certificate, time(nil) - 60)
      gnutls_x509_crt_set_expiration_time(certificate, time(nil) + 3_600)
      gnutls_x509_crt_set_dn_by_oid(certificate, GNUTLS_OID_X520_COMMON_NAME, 0, "client", 6)
      gnutls_x509_crt_set_key(certificate, privateKey)
      XCTAssertEqual(gnutls_x509_crt_sign2(certificate, certificate, privateKey, kind == GNUTLS_PK_EDDSA_ED25519 ? GNUTLS_DIG_SHA512 : GNUTLS_DIG_SHA256, 0), 0)
      for version in Self.versions {
        let (outcome, stream, _) = try meet(version) {
          var chain = [certificate]
          XCTAssertEqual(gnutls_certificate_set_x509_key($0, &chain, 1, privateKey), 0)
        }
        XCTAssertEqual(outcome, .established, "\(kind) \(version)")
        XCTAssertEqual(stream.facts.client?.digest?.count, 64, "\(kind) \(version)")
        XCTAssertEqual(stream.clientFault, "unknown issuer", "\(kind) \(version)")
      }
    }
  }

  func testAClientWithoutACertificate() throws {
    for version in Self.versions {
      XCTAssertEqual(try meet(version) { _ in }.outcome, .established, version)
    }
  }

  // MARK: The message

  private func fault(_ message: [UInt8], hasContext: Bool, isServer: Bool = false) -> String? {
    message.withUnsafeBufferPointer { PeerCertificates.fault($0, hasContext: hasContext, isServer: isServer) }
  }

  private func message(_ certificate: [UInt8], hasContext: Bool) -> [UInt8] {
    func number(_ value: Int) -> [UInt8] { [UInt8(value >> 16), UInt8(value >> 8 & 255), UInt8(value & 255)] }
    let entry = number(certificate.count) + certificate + (hasContext ? [0, 0] : [])
    return (hasContext ? [0] : []) + number(entry.count) + entry
  }

  func testEveryPartAndEveryChangedOctetOfAMessage() {
    let certificate = ForgedCertificate.rsa(modulusBits: 512).der
    for hasContext in [false, true] {
      let message = message(certificate, hasContext: hasContext)
      XCTAssertNil(fault(message, hasContext: hasContext))
      for count in 0..<message.count {
        XCTAssertEqual(fault(Array(message.prefix(count)), hasContext: hasContext), "the message cannot be parsed", "\(count)")
      }
      for position in message.indices {
        for bit in [0x01, 0x80, 0xFF] as [UInt8] {
          var changed = message
          changed[position] ^= bit
          _ = fault(changed, hasContext: hasContext)
          // The lengths in front of the certificate.
          if position < (hasContext ? 7 : 6) {
            XCTAssertEqual(fault(changed, hasContext: hasContext), "the message cannot be parsed", "\(position)")
          }
        }
      }
      XCTAssertEqual(fault(message + [0], hasContext: hasContext), "the message cannot be parsed")
      XCTAssertEqual(fault(self.message([], hasContext: hasContext), hasContext: hasContext), hasContext ? "the message cannot be parsed" : nil)
      XCTAssertEqual(fault(self.message([0x30, 0], hasContext: hasContext), hasContext: hasContext), "a certificate cannot be parsed")
    }
    XCTAssertNil(fault([0, 0, 0], hasContext: false), "no certificate")
    XCTAssertNil(fault([0, 0, 0, 0], hasContext: true), "no certificate")
  }

  /// An OCSP response of a client is not verified: no client may send one.
  func testExtensions() {
    var message = message(ForgedCertificate.rsa(modulusBits: 512).der, hasContext: true)
    message[message.count - 1] = 4
    message += [0, 5, 0, 0]
    // The length of the list.
    XCTAssertLessThan(message[3], 252)
    message[3] += 4
    XCTAssertEqual(fault(message, hasContext: true), "the message has extensions, which were not requested")
    XCTAssertNil(fault(message, hasContext: true, isServer: true))
  }

  func testCompressedCertificates() throws {
    try TransportTests.withFolder { folder in
      let session = try GnuTLSStream(try selfSigned(folder)).session
      let type = GNUTLS_HANDSHAKE_COMPRESSED_CERTIFICATE_PKT.rawValue
      XCTAssertEqual(PeerCertificates.fault(session, received: type, UnsafeBufferPointer(start: nil, count: 0), isServer: false), "it is compressed")
    }
  }
}
