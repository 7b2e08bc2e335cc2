// Key exchanges that no session could have: they are removed from the priorities, or the string is refused.

import Transport
@testable import TransportTLS
import XCTest

final class TLSKeyExchangeTests: XCTestCase {
  private static let version12 = "NORMAL:-VERS-ALL:+VERS-TLS1.2"

  /// A certificate with an RSA key: DHE-RSA is possible.
  private func credentials(_ folder: String) throws -> TLSCredentials {
    let pair = TLSCredentials.Pair(certificate: "\(folder)/rsa.pem", key: "\(folder)/rsa.key")
    let words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    XCTAssertEqual(try runProgram(words + ["-keyout", pair.key, "-out", pair.certificate]), .exited(0))
    return try TLSCredentials([pair])
  }

  /// Without a group for DHE the library would choose DHE-RSA and then fail with internal_error.
  func testWithoutAGroupOfDHEThereIsNoDHE() throws {
    let both = ["-tls1_2", "-cipher", "DHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256"]
    let clients: [(words: [String], cipher: String?)] = [
      (both, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"), (["-tls1_3"], "TLS_AES_256_GCM_SHA384"),
      (["-tls1_2", "-cipher", "DHE-RSA-AES256-GCM-SHA384"], nil),
      (["-tls1_2", "-curves", "P-256"], nil), (["-tls1_3", "-curves", "P-256"], nil), (["-curves", "P-256"], nil),
    ]
    try withFolder { folder in
      let credentials = try credentials(folder)
      for profile in [TLSProfile.modern, .compatible, .priority(TLSKeyExchangeTests.version12 + ":+VERS-TLS1.3:-RSA:+DHE-RSA")] {
        let priorities = try TLSPriorities(profile, groups: ["x25519"])
        for client in clients {
          let what = "\(profile): \(client.words)"
          let meeting = try TLSMeeting(credentials, client.words, priorities: priorities)
          XCTAssertEqual(meeting.outcome == .established ? meeting.stream.facts.cipher : nil, client.cipher, "\(what): \(meeting.outcome)")
          if client.cipher == nil { XCTAssertEqual(meeting.stream.alert?.name, "handshake_failure", what) }
        }
      }
      // With a group it stays.
      let kept = try TLSPriorities(.compatible, groups: ["x25519", "ffdhe3072"])
      let meeting = try TLSMeeting(credentials, clients[2].words, priorities: kept)
      XCTAssertEqual(meeting.outcome, .established)
    }
  }

  func testWhatIsRemovedForAKeyThatOnlySigns() throws {
    func priorities(_ text: String) throws -> TLSPriorities {
      try TLSPriorities(.priority(text), groups: nil, keyOnlySigns: true)
    }
    let usual = try priorities(TLSKeyExchangeTests.version12)
    XCTAssertTrue(usual.isRSAKeyExchangeRemoved)
    XCTAssertFalse(usual.needsDecryption)
    XCTAssertEqual(usual.text, TLSKeyExchangeTests.version12 + ":-RSA")
    XCTAssertFalse(TLSPriorities.exchanges(usual.parsed).contains { TLSPriorities.decrypts($0) })
    XCTAssertEqual(try priorities(TLSKeyExchangeTests.version12 + ":%SERVER_PRECEDENCE").text.suffix(5), ":-RSA")
    // Nothing is removed where nothing is there: TLS 1.3 has no such exchange.
    for text in [TLSKeyExchangeTests.version12 + ":-RSA", "NORMAL:-VERS-ALL:+VERS-TLS1.3"] {
      XCTAssertFalse(try priorities(text).isRSAKeyExchangeRemoved, text)
      XCTAssertEqual(try priorities(text).text, text)
    }
    for text in [TLSKeyExchangeTests.version12 + ":-KX-ALL:+RSA", TLSKeyExchangeTests.version12 + ":-GROUP-ALL"] {
      XCTAssertTrue(try priorities(text).needsDecryption, text)
    }
    XCTAssertFalse(try TLSPriorities(.priority(TLSKeyExchangeTests.version12)).isRSAKeyExchangeRemoved)
    for profile in [TLSProfile.modern, .compatible] {
      let own = try TLSPriorities(profile, groups: nil, keyOnlySigns: true)
      XCTAssertEqual(own.text, try TLSPriorities(profile).text)
      XCTAssertFalse(own.needsDecryption)
    }
  }

  /// With these strings each handshake would fail: there is no credential for the exchange, or no group.
  func testStringsThatNoClientCanUse() throws {
    for rest in [
      ":-KX-ALL:+PSK", ":-KX-ALL:+DHE-PSK:+ECDHE-PSK:+RSA-PSK", ":-KX-ALL:+SRP-RSA", ":-KX-ALL:+ECDHE-RSA:-GROUP-ALL:+GROUP-FFDHE3072",
      ":-RSA:-GROUP-ALL:+GROUP-FFDHE2048", ":-KX-ALL:+DHE-RSA:-GROUP-ALL:+GROUP-X25519",
    ] {
      let text = TLSKeyExchangeTests.version12 + rest
      XCTAssertThrowsError(try TLSPriorities(.priority(text)), text) {
        XCTAssertEqual($0 as? TLSCredentialsError, .badPriorities(text, at: ""))
      }
    }
    // With TLS 1.3 the certificate alone decides.
    XCTAssertNoThrow(try TLSPriorities(.priority("NORMAL:-VERS-ALL:+VERS-TLS1.3:-KX-ALL:+PSK")))
  }
}
