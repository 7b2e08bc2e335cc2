// Handshakes that go wrong at each record of the client: garbage, an end in the middle, a length that is too large, and
// nothing more. The client is a real one, whose records pass through the test.

@testable import TransportKit
import CGnuTLS
import Glibc
@testable import Transport
import TransportTLS
import XCTest

final class TLSBrokenHandshakeTests: XCTestCase {
  /// What becomes of a record of the client.
  private enum Fault: CaseIterable {
    /// Its contents are noise, but for the header of a message. What follows it comes unchanged.
    case garbage
    /// It has the type of a ClientHello in clear, and no contents.
    case empty
    /// Half of it, and then the end of the connection.
    case truncated
    /// Its header announces more than a record may have.
    case oversized
    /// It does not come, and neither does an end.
    case stalled
  }

  /// A client of a test.
  private struct Client {
    let name: String
    let priorities: String
    /// The number of records of a handshake, at least.
    let records: Int
    var hasCertificate = false
    /// The server's groups; nil for those of the profile.
    var groups: [String]?
  }

  private static let clients = [
    Client(name: "TLS 1.2", priorities: "NORMAL:-VERS-ALL:+VERS-TLS1.2", records: 4),
    Client(name: "TLS 1.3", priorities: "NORMAL:-VERS-ALL:+VERS-TLS1.3", records: 3),
    // Certificate and CertificateVerify as well.
    Client(name: "TLS 1.2 with a certificate", priorities: "NORMAL:-VERS-ALL:+VERS-TLS1.2", records: 6, hasCertificate: true),
    Client(name: "TLS 1.3 with a certificate", priorities: "NORMAL:-VERS-ALL:+VERS-TLS1.3", records: 5, hasCertificate: true),
    // The server has no group of the first ClientHello's keys: HelloRetryRequest, and a second ClientHello.
    Client(
      name: "TLS 1.3 with a second ClientHello", priorities: "NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-SECP256R1:+GROUP-SECP384R1",
      records: 4, groups: ["secp384r1"]),
  ]

  private struct Setting {
    let credentials: TLSCredentials
    let pair: TLSCredentials.Pair
  }

  /// Clients may send a certificate, and the server's own is trusted for it.
  private func setting(_ folder: String) throws -> Setting {
    let pair = try SelfSigned.pair(in: folder, names: ["localhost"])
    return Setting(credentials: try TLSCredentials([pair], clients: ClientCertificates(.reported, trust: .file(pair.certificate))), pair: pair)
  }

  /// The records that a client's octets consist of.
  private func records(_ octets: some Sequence<UInt8>) -> [[UInt8]] {
    var rest = Array(octets)[...]
    var records: [[UInt8]] = []
    while rest.count >= 5 {
      let length = 5 + Int(rest[rest.startIndex + 3]) << 8 + Int(rest[rest.startIndex + 4])
      records.append(Array(rest.prefix(length)))
      rest = rest.dropFirst(length)
    }
    return records
  }

  private func broken(_ record: [UInt8], _ fault: Fault) -> [UInt8] {
    switch fault {
    // The library looks at the length alone of a change_cipher_spec.
    case .garbage where record[0] == 20: [20, 3, 3, 0, 2, 0x5B, 0x5B]
    case .garbage:
      record.prefix(record[0] == 22 ? 9 : 5)
        + record.dropFirst(record[0] == 22 ? 9 : 5).enumerated().map { UInt8(truncatingIfNeeded: ($0 * 167) ^ Int($1) ^ 0x5A) }
    case .empty: [22, 3, 3, 0, 0]
    case .truncated: Array(record.prefix(max(6, record.count / 2)))
    case .oversized: record.prefix(3) + [0xFF, 0xFF] + [UInt8](repeating: 0, count: 20_000)
    case .stalled: []
    }
  }

  /// A session whose client's records are counted from 0; the one with this number is broken.
  ///
  /// - Returns: what the handshake came to, and the number of the client's records.
  private func meet(
    _ setting: Setting, _ client: Client, _ fault: Fault?, at position: Int
  ) throws -> (outcome: TLSHandshake, stream: GnuTLSStream, count: Int) {
    let ends = try Kernel.socketPair()
    let wire = FarEnd(socket: ends.1)
    let stream = try GnuTLSStream(setting.credentials, try TLSPriorities(.compatible, groups: client.groups))
    stream.attach(Descriptor(adopting: ends.0))
    // The client's own connection ends in the test.
    let inner = try Kernel.socketPair()
    let relay = FarEnd(socket: inner.0)
    let own = FarEnd(socket: inner.1)
    let identity: (gnutls_certificate_credentials_t) -> Void = {
      XCTAssertEqual(gnutls_certificate_set_x509_key_file($0, setting.pair.certificate, setting.pair.key, GNUTLS_X509_FMT_PEM), 0)
    }
    let tunnel = TLSTunnel(own, priorities: client.priorities, identity: client.hasCertificate ? identity : nil)
    var count = 0
    var isBroken = false
    for _ in 0..<50 {
      while own.step() || tunnel.step() || relay.step() {}
      for record in records(relay.take()) where !isBroken {
        if let fault, count == position {
          wire.say(broken(record, fault))
          if fault == .truncated { wire.endSending() }
          isBroken = fault != .garbage
        } else {
          wire.say(record)
        }
        count += 1
      }
      while wire.step() {}
      let outcome = stream.handshake()
      if outcome != .wouldBlock { return (outcome, stream, count) }
      while wire.step() {}
      relay.say(wire.take())
    }
    return (.wouldBlock, stream, count)
  }

  func testEveryRecordOfAClient() throws {
    try withFolder { folder in
      let setting = try setting(folder)
      for client in TLSBrokenHandshakeTests.clients {
        let whole = try meet(setting, client, nil, at: 0)
        XCTAssertEqual(whole.outcome, .established, client.name)
        XCTAssertGreaterThanOrEqual(whole.count, client.records, client.name)
        XCTAssertEqual(whole.stream.facts.client?.digest != nil, client.hasCertificate, client.name)
        for fault in Fault.allCases {
          for position in 0..<whole.count {
            let what = "\(client.name): \(fault) at \(position) of \(whole.count)"
            let (outcome, stream, count) = try meet(setting, client, fault, at: position)
            XCTAssertGreaterThan(count, position, what)
            XCTAssertTrue(stream.facts.version.isEmpty, what)
            if fault == .stalled {
              // Nothing happens until the caller's deadline.
              XCTAssertEqual(outcome, .wouldBlock, what)
              XCTAssertEqual(stream.direction, .read, what)
              continue
            }
            guard case .failed(let text) = outcome else { return XCTFail("\(what): \(outcome)") }
            XCTAssertTrue(text.hasPrefix("TLS handshake: "), what)
            XCTAssertEqual(stream.alert?.isSent, fault == .truncated ? nil : true, what)
          }
        }
      }
    }
  }
}
