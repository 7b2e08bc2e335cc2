// What one call of the TLS engine may do, and how it ends: against a client in the same process, whose every octet is
// held back or let go.

@testable import TransportKit
import CGnuTLS
import Glibc
@testable import Transport
import TransportTLS
import XCTest

final class TLSTurnTests: XCTestCase {
  /// How often one call may ask the kernel for octets.
  private static let pullsLimit = 64

  private func withStream(
    bufferOctets: CInt? = nil, _ body: (GnuTLSStream, FarEnd, TLSTunnel) throws -> Void
  ) throws {
    try withFolder { folder in
      let ends = try Kernel.socketPair()
      if let bufferOctets { Connections.limitBuffers(of: [ends.0, ends.1], to: bufferOctets) }
      let end = FarEnd(socket: ends.1)
      let stream = try GnuTLSStream(try selfSigned(folder))
      stream.attach(Descriptor(adopting: ends.0))
      try body(stream, end, TLSTunnel(end))
    }
  }

  private func shakeHands(_ stream: GnuTLSStream, _ end: FarEnd, _ tunnel: TLSTunnel) {
    for _ in 0..<100 {
      let answer = stream.handshake()
      while end.step() || tunnel.step() {}
      if answer == .established && tunnel.isEstablished { return }
    }
    XCTFail("the handshake does not end: \(tunnel.failure ?? "")")
  }

  /// Counts what `body` asks the kernel for.
  private func pulls(_ body: () -> Void) -> Int {
    var count = 0
    Kernel.fault = { call in
      if call == .recv { count += 1 }
      return nil
    }
    defer { Kernel.fault = nil }
    body()
    return count
  }

  func testAReadTakesManySmallRecordsButNotAll() throws {
    try withStream { stream, end, tunnel in
      shakeHands(stream, end, tunnel)
      let text = (0..<1_000).map { UInt8(truncatingIfNeeded: $0) }
      for octet in text { tunnel.say([octet]) }
      while end.step() {}
      var got: [UInt8] = []
      var reads = 0
      while got.count < text.count {
        reads += 1
        var answer = IOResult.wouldBlock
        var buffer = [UInt8](repeating: 0, count: 65_536)
        let asked = pulls { answer = buffer.withUnsafeMutableBytes { stream.read(into: $0) } }
        XCTAssertLessThanOrEqual(asked, TLSTurnTests.pullsLimit)
        guard case .moved(let count) = answer else { return XCTFail("\(answer) after \(got.count)") }
        // What is left is in the kernel, where poll sees it.
        got += buffer[..<count]
        XCTAssertTrue(got.count == text.count || waitFor(stream.descriptor, POLLIN, milliseconds: 0))
        XCTAssertFalse(stream.hasPending)
      }
      XCTAssertEqual(got, text)
      XCTAssertLessThan(reads, 50)
      XCTAssertGreaterThan(reads, 10)
    }
  }

  /// A header and its body are received in one call, and a call that has found less than it asked for is not repeated.
  func testARecordIsReceivedInOneCall() throws {
    try withStream { stream, end, tunnel in
      shakeHands(stream, end, tunnel)
      tunnel.say(octets("NOOP\r\n"))
      while end.step() {}
      var buffer = [UInt8](repeating: 0, count: 4_096)
      XCTAssertEqual(pulls { XCTAssertEqual(buffer.withUnsafeMutableBytes { stream.read(into: $0) }, .moved(6)) }, 1)
      XCTAssertFalse(stream.hasPending)
      XCTAssertEqual(pulls { XCTAssertEqual(buffer.withUnsafeMutableBytes { stream.read(into: $0) }, .wouldBlock) }, 1)
    }
  }

  /// Octets that arrive together with the last message of the handshake, or together with the end, are received ahead: poll does
  /// not see them, and the stream reports them.
  func testOctetsThatAreReceivedAheadAreReported() throws {
    try withStream { stream, end, tunnel in
      while !tunnel.isEstablished {
        guard stream.handshake() == .wouldBlock else { return XCTFail("the handshake") }
        while end.step() {}
        while tunnel.step() {}
        if let failure = tunnel.failure { return XCTFail(failure) }
        if !tunnel.isEstablished { while end.step() {} }
      }
      // Finished, a line, and the end.
      tunnel.say(octets("EHLO c\r\n"))
      tunnel.endSending()
      while end.step() {}
      XCTAssertEqual(stream.handshake(), .established)
      XCTAssertTrue(stream.hasPending)
      var buffer = [UInt8](repeating: 0, count: 4_096)
      var answer = IOResult.wouldBlock
      XCTAssertEqual(pulls { answer = buffer.withUnsafeMutableBytes { stream.read(into: $0) } }, 0, "all of it has arrived before")
      XCTAssertEqual(answer, .moved(8))
      XCTAssertEqual(Array(buffer[..<8]), octets("EHLO c\r\n"))
      XCTAssertTrue(stream.hasPending)
      XCTAssertEqual(buffer.withUnsafeMutableBytes { stream.read(into: $0) }, .ended)
      XCTAssertFalse(stream.facts.truncated)
    }
  }

  /// A handshake message may be cut into records of one octet.
  func testAHandshakeStepTakesSomeRecordsOnly() throws {
    try withStream { stream, end, _ in
      // A ClientHello that announces 60,000 octets.
      let message = [1, 0, 0xEA, 0x60] + [UInt8](repeating: 3, count: 2_000)
      for octet in message { end.say([0x16, 3, 1, 0, 1, octet]) }
      while end.step() {}
      var steps = 0
      var answer = TLSHandshake.wouldBlock
      while waitFor(stream.descriptor, POLLIN, milliseconds: 0), answer == .wouldBlock {
        steps += 1
        let asked = pulls { answer = stream.handshake() }
        XCTAssertLessThanOrEqual(asked, TLSTurnTests.pullsLimit + 16, "what a failure discards included")
      }
      XCTAssertGreaterThan(steps, 0)
    }
  }

  /// The end waits for the kernel to take the close_notify: a slow client does not see a truncation.
  func testTheEndIsTriedAgainUntilTheKernelTakesIt() throws {
    try withStream(bufferOctets: 4_096) { stream, end, tunnel in
      shakeHands(stream, end, tunnel)
      end.hasStoppedReading = true
      var sent = 0
      var answer = IOResult.moved(0)
      while answer != .wouldBlock {
        answer = [UInt8](repeating: 0x78, count: 100).withUnsafeBytes { stream.write($0) }
        if case .moved(let count) = answer { sent += count }
      }
      XCTAssertFalse(stream.endSending())
      XCTAssertEqual(stream.direction, .write)
      end.hasStoppedReading = false
      var isEnded = false
      for _ in 0..<100 where !tunnel.hasEnded && tunnel.failure == nil {
        while end.step() || tunnel.step() {}
        if !isEnded { isEnded = stream.endSending() }
      }
      XCTAssertTrue(isEnded)
      XCTAssertTrue(tunnel.hasEnded, tunnel.failure ?? "no close_notify")
      XCTAssertGreaterThanOrEqual(tunnel.received.count, sent)
    }
  }
}
