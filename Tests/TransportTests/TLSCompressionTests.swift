// TLSCompressionTests: compression of TLS 1.2 (RFC 3749) is never agreed, whatever a client offers (CVE-2012-4929).

import Glibc
@testable import Transport
import TransportTLS
import XCTest

final class TLSCompressionTests: XCTestCase {
  private static let null: UInt8 = 0
  private static let deflate: UInt8 = 1

  /// A ClientHello of TLS 1.2 in one record, with ECDHE-ECDSA and these compression methods.
  private func clientHello(_ methods: [UInt8]) -> [UInt8] {
    func sized(_ octets: [UInt8], by count: Int = 2) -> [UInt8] {
      (0..<count).reversed().map { UInt8(truncatingIfNeeded: octets.count >> (8 * $0)) } + octets
    }
    let extensions: [(UInt8, UInt8, [UInt8])] = [
      (0, 10, sized([0, 23])), (0, 11, sized([0], by: 1)), (0, 13, sized([4, 3])), (0, 23, []), (0xFF, 1, [0]),
    ]
    let hello =
      [3, 3] + [UInt8](repeating: 0x5A, count: 32) + sized([], by: 1) + sized([0xC0, 0x2B, 0xC0, 0x2C]) + sized(methods, by: 1)
      + sized(extensions.flatMap { [$0.0, $0.1] + sized($0.2) })
    return [22, 3, 1] + sized([1] + sized(hello, by: 3))
  }

  /// What the server answers: its first record.
  private func answer(_ credentials: TLSCredentials, to methods: [UInt8]) throws -> (record: [UInt8], outcome: TLSHandshake) {
    let ends = try Kernel.socketPair()
    let client = Descriptor(adopting: ends.0)
    let stream = try GnuTLSStream(credentials)
    stream.attach(Descriptor(adopting: ends.1))
    let hello = clientHello(methods)
    XCTAssertEqual(hello.withUnsafeBytes { send(client.number, $0.baseAddress, $0.count, 0) }, hello.count)
    // All of the client's octets are there: the outcome depends on no time.
    let outcome = stream.handshake()
    var buffer = [UInt8](repeating: 0, count: 65_536)
    let count = buffer.withUnsafeMutableBytes { recv(client.number, $0.baseAddress, $0.count, CInt(MSG_DONTWAIT)) }
    return (Array(buffer.prefix(max(0, count))), outcome)
  }

  func testNullIsChosenWhateverIsOffered() throws {
    try withFolder { folder in
      let credentials = try selfSigned(folder)
      for methods in [[Self.null], [Self.deflate, Self.null], [Self.null, Self.deflate], [64, Self.deflate, Self.null]] as [[UInt8]] {
        let (record, outcome) = try answer(credentials, to: methods)
        XCTAssertEqual(outcome, .wouldBlock, "\(methods)")
        // A ServerHello: record and message headers, version, random, session identifier, cipher suite, compression.
        guard record.count > 44, record[0] == 22, record[5] == 2 else { return XCTFail("\(methods): \(record.prefix(10))") }
        let suite = 44 + Int(record[43])
        XCTAssertEqual(record[suite], 0xC0, "\(methods)")
        XCTAssertEqual(record[suite + 2], Self.null, "\(methods)")
      }
    }
  }

  /// Null must be among the methods (RFC 5246, 7.4.1.2).
  func testAClientWithoutNullIsRefused() throws {
    try withFolder { folder in
      let credentials = try selfSigned(folder)
      for methods in [[Self.deflate], [Self.deflate, 64], []] as [[UInt8]] {
        let (record, outcome) = try answer(credentials, to: methods)
        guard case .failed = outcome else { return XCTFail("\(methods): \(outcome)") }
        XCTAssertEqual(record.first, 21, "\(methods): an alert")
        XCTAssertEqual(record.count, 7, "\(methods)")
        XCTAssertEqual(record.dropFirst(5).first, 2, "\(methods): a fatal one")
      }
    }
  }
}
