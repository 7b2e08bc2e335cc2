// What a client may have a session do without progress: floods of what carries no data end the session with an alert, and
// what an honest client sends does not.

@testable import TransportKit
import CGnuTLS
import Glibc
import Transport
@testable import TransportTLS
import XCTest

final class TLSLimitsTests: XCTestCase {
  private static let versions = ["1.2", "1.3"].map { "NORMAL:-VERS-ALL:+VERS-TLS\($0):-GROUP-ALL:+GROUP-X25519" }

  /// A session after its handshake.
  private func withSession(
    _ priorities: String = versions[1], _ body: (GnuTLSStream, FarEnd, TLSTunnel) throws -> Void
  ) throws {
    try withFolder { folder in
      let ends = try Kernel.socketPair()
      let end = FarEnd(socket: ends.1)
      let stream = try GnuTLSStream(try selfSigned(folder))
      stream.attach(Descriptor(adopting: ends.0))
      let tunnel = TLSTunnel(end, priorities: priorities)
      for _ in 0..<100 where !(stream.handshake() == .established && tunnel.isEstablished) { while end.step() || tunnel.step() {} }
      XCTAssertTrue(tunnel.isEstablished, tunnel.failure ?? "")
      try body(stream, end, tunnel)
    }
  }

  /// Reads until nothing more is there; the text and the answer that ended it.
  private func readAll(_ stream: GnuTLSStream, _ end: FarEnd) -> (String, IOResult) {
    var text: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      while end.step() {}
      switch buffer.withUnsafeMutableBytes({ stream.read(into: $0) }) {
      case .moved(let count): text += buffer[..<count]
      // One call takes some records only.
      case .wouldBlock where waitFor(stream.descriptor, POLLIN, milliseconds: 0): continue
      case let answer: return (String(decoding: text, as: UTF8.self), answer)
      }
    }
  }

  private func assertRefused(
    _ stream: GnuTLSStream, _ end: FarEnd, _ tunnel: TLSTunnel, _ failure: String, file: StaticString = #filePath, line: UInt = #line
  ) {
    let (text, answer) = readAll(stream, end)
    XCTAssertEqual(text, "", file: file, line: line)
    XCTAssertEqual(answer, .failed(SystemError("gnutls_record_recv", EPROTO)), file: file, line: line)
    XCTAssertEqual(stream.failure, "TLS reading: \(failure)", file: file, line: line)
    XCTAssertEqual(stream.alert?.name, "unexpected_message", file: file, line: line)
    // The client gets it.
    while end.step() || tunnel.step() {}
    XCTAssertEqual(gnutls_alert_get(tunnel.session), GNUTLS_A_UNEXPECTED_MESSAGE, file: file, line: line)
  }

  private func updateKeys(_ tunnel: TLSTunnel, asking: Bool) {
    XCTAssertEqual(gnutls_session_key_update(tunnel.session, asking ? UInt32(GNUTLS_KU_PEER) : 0), 0)
  }

  // MARK: After the handshake

  func testUpdatesOfKeys() throws {
    for asking in [false, true] {
      try withSession { stream, end, tunnel in
        for _ in 0..<8 { updateKeys(tunnel, asking: asking) }
        tunnel.say(octets("NOOP\r\n"))
        XCTAssertEqual(readAll(stream, end).0, "NOOP\r\n")
        XCTAssertEqual(octets("250 ok\r\n").withUnsafeBytes { stream.write($0) }, .moved(8))
        // An update that the client asked for comes first, and ends a step.
        for _ in 0..<3 { while end.step() || tunnel.step() {} }
        XCTAssertEqual(tunnel.received, octets("250 ok\r\n"), "with the new keys")
        for _ in 0..<9 { updateKeys(tunnel, asking: asking) }
        assertRefused(stream, end, tunnel, "the client updated its keys too often")
      }
    }
  }

  func testRecordsWithoutData() throws {
    for version in TLSLimitsTests.versions {
      try withSession(version) { stream, end, tunnel in
        let forge = try RecordForge(tunnel.session)
        for _ in 0..<3 {
          // As many as are allowed, three times: data sets the count back.
          for _ in 0..<TLSLimits.recordsWithoutData { end.say(forge.record(.data, [])) }
          XCTAssertEqual(readAll(stream, end).1, .wouldBlock)
          end.say(forge.record(.data, octets("x")))
          XCTAssertEqual(readAll(stream, end).0, "x")
        }
        for _ in 0...TLSLimits.recordsWithoutData { end.say(forge.record(.data, [])) }
        assertRefused(stream, end, tunnel, "the client sent more than 64 records or 65536 octets without data")
      }
    }
  }

  /// Data that arrives together with a flood does not hide it.
  func testRecordsWithoutDataInOneReadWithData() throws {
    try withSession { stream, end, tunnel in
      let forge = try RecordForge(tunnel.session)
      func flood(_ count: Int) { end.say((0..<count).flatMap { _ in forge.record(.data, []) } + forge.record(.data, octets("x"))) }
      flood(TLSLimits.recordsWithoutData)
      XCTAssertEqual(readAll(stream, end).0, "x")
      flood(TLSLimits.recordsWithoutData + 1)
      assertRefused(stream, end, tunnel, "the client sent more than 64 records or 65536 octets without data")
    }
  }

  /// Octets are received ahead, but a flood does not keep one call busy.
  func testOneReadIsBounded() throws {
    try withSession { stream, end, tunnel in
      let forge = try RecordForge(tunnel.session)
      end.say((0..<1_000).flatMap { _ in forge.record(.data, octets("x")) })
      while end.step() {}
      let before = stream.meter.records
      var buffer = [UInt8](repeating: 0, count: 4_096)
      guard case .moved = buffer.withUnsafeMutableBytes({ stream.read(into: $0) }) else { return XCTFail("nothing") }
      XCTAssertLessThanOrEqual(stream.meter.records - before, TLSLimits.pulls / 2 + TLSLimits.readAhead / 23 + 1)
      // What is left is in the kernel, where poll sees it.
      XCTAssertFalse(stream.hasPending)
      XCTAssertTrue(waitFor(stream.descriptor, POLLIN, milliseconds: 0))
      XCTAssertGreaterThan(readAll(stream, end).0.utf8.count, 900)
    }
  }

  /// A handshake message that does not end is not stored: in TLS 1.2 a renegotiation, in TLS 1.3 a message of no use.
  func testAMessageAfterTheHandshakeThatDoesNotEnd() throws {
    for version in TLSLimitsTests.versions {
      try withSession(version) { stream, end, tunnel in
        let forge = try RecordForge(tunnel.session)
        let part = [UInt8](repeating: 0, count: 16_000)
        end.say(forge.record(.handshake, [1, 0xFF, 0xFF, 0xFF] + part))
        for _ in 0..<4 { end.say(forge.record(.handshake, part)) }
        let failure =
          version == TLSLimitsTests.versions[0] ? "An unexpected TLS packet was received." : "the client sent more than 64 records or 65536 octets without data"
        assertRefused(stream, end, tunnel, failure)
      }
    }
  }

  /// In TLS 1.3 the library treats every alert as the end.
  func testWarnings() throws {
    try withSession(TLSLimitsTests.versions[0]) { stream, end, tunnel in
      for _ in 0..<4 { gnutls_alert_send(tunnel.session, GNUTLS_AL_WARNING, GNUTLS_A_USER_CANCELED) }
      tunnel.say(octets("x"))
      XCTAssertEqual(readAll(stream, end).0, "x")
      gnutls_alert_send(tunnel.session, GNUTLS_AL_WARNING, GNUTLS_A_USER_CANCELED)
      assertRefused(stream, end, tunnel, "the client sent alert 90 (User canceled)")
    }
    try withSession(TLSLimitsTests.versions[1]) { stream, end, tunnel in
      gnutls_alert_send(tunnel.session, GNUTLS_AL_WARNING, GNUTLS_A_USER_CANCELED)
      XCTAssertEqual(readAll(stream, end).1, .failed(SystemError("gnutls_record_recv", EPROTO)))
      XCTAssertEqual(stream.alert, TLSAlert(GNUTLS_A_USER_CANCELED, isSent: false))
    }
  }

  // MARK: In the handshake

  /// A session whose client is octets of the test.
  private func withStart(_ priorities: String = versions[1], _ body: (GnuTLSStream, FarEnd, TLSTunnel) throws -> Void) throws {
    try withFolder { folder in
      let ends = try Kernel.socketPair()
      let end = FarEnd(socket: ends.1)
      let stream = try GnuTLSStream(try selfSigned(folder))
      stream.attach(Descriptor(adopting: ends.0))
      try body(stream, end, TLSTunnel(end, priorities: priorities))
    }
  }

  /// Goes on until the handshake has come to something, or nothing moves any more.
  private func outcome(_ stream: GnuTLSStream, _ end: FarEnd, _ step: () -> Bool) -> TLSHandshake {
    var idle = 0
    while idle < 3 {
      while end.step() || step() { idle = 0 }
      let outcome = stream.handshake()
      if outcome != .wouldBlock { return outcome }
      if waitFor(stream.descriptor, POLLIN, milliseconds: 0) { idle = 0 } else { idle += 1 }
    }
    return .wouldBlock
  }

  func testWarningsInTheHandshake() throws {
    for (count, isServed) in [(4, true), (5, false)] {
      try withStart(TLSLimitsTests.versions[0]) { stream, end, tunnel in
        // After the ClientHello.
        _ = tunnel.step()
        for _ in 0..<count { end.say([0x15, 3, 3, 0, 2, 1, 90]) }
        let outcome = outcome(stream, end) { tunnel.step() }
        XCTAssertEqual(outcome == .established, isServed, "\(outcome)")
        if !isServed { XCTAssertEqual(stream.alert, TLSAlert(GNUTLS_A_UNEXPECTED_MESSAGE, isSent: true)) }
      }
    }
  }

  func testAWarningBeforeTheClientHelloIsRefused() throws {
    try withStart { stream, end, tunnel in
      end.say([0x15, 3, 1, 0, 2, 1, 90])
      guard case .failed = outcome(stream, end, { tunnel.step() }) else { return XCTFail("accepted") }
      XCTAssertEqual(stream.alert, TLSAlert(GNUTLS_A_UNEXPECTED_MESSAGE, isSent: true))
    }
  }

  /// In TLS 1.3 the library drops records of this type without a limit.
  func testAFloodOfChangeCipherSpec() throws {
    for (count, isServed) in [(400, true), (600, false)] {
      try withStart { stream, end, tunnel in
        // The ClientHello goes first.
        _ = tunnel.step()
        for _ in 0..<count { end.say([0x14, 3, 3, 0, 1, 1]) }
        let outcome = outcome(stream, end) { tunnel.step() }
        XCTAssertEqual(outcome == .established, isServed, "\(outcome)")
        if !isServed {
          XCTAssertEqual(stream.failure, "TLS handshake: the client sent more than 512 records or 131072 octets for a handshake")
          XCTAssertEqual(stream.alert?.name, "unexpected_message")
        }
      }
    }
  }

  func testAHandshakeInTooManyRecords() throws {
    try withStart { stream, end, _ in
      for octet in [1, 0, 0xEA, 0x60] + [UInt8](repeating: 3, count: 2_000) { end.say([0x16, 3, 1, 0, 1, octet]) }
      let outcome = outcome(stream, end) { false }
      XCTAssertEqual(outcome, .failed("TLS handshake: the client sent more than 512 records or 131072 octets for a handshake"))
    }
  }

  /// The library would store all of a message of 16 MiB before it refuses it.
  func testAMessageThatDoesNotEnd() throws {
    try withStart { stream, end, _ in
      let part = [UInt8](repeating: 0, count: 16_000)
      end.say([0x16, 3, 1, 0x3E, 0x84, 1, 0xFF, 0xFF, 0xFF] + part)
      for _ in 0..<20 { end.say([0x16, 3, 1, 0x3E, 0x80] + part) }
      let outcome = outcome(stream, end) { false }
      XCTAssertEqual(outcome, .failed("TLS handshake: the client sent more than 512 records or 131072 octets for a handshake"))
      XCTAssertLessThan(stream.meter.octets, 131_072 + 2 * 16_400)
    }
  }

  /// The server's half of the handshake waits for a client that does not read: nothing is stored but that half.
  func testAClientThatNeverReads() throws {
    try withFolder { folder in
      let ends = try Kernel.socketPair()
      Connections.limitBuffers(of: [ends.0, ends.1], to: 1)
      // The kernel takes no more: the buffer is filled before the handshake.
      let filler = [UInt8](repeating: 0, count: 65_536)
      while send(ends.0, filler, filler.count, CInt(MSG_DONTWAIT)) > 0 {}
      let end = FarEnd(socket: ends.1)
      end.hasStoppedReading = true
      let tunnel = TLSTunnel(end)
      let stream = try GnuTLSStream(try selfSigned(folder))
      stream.attach(Descriptor(adopting: ends.0))
      _ = tunnel.step()
      for _ in 0..<20 {
        while end.step() {}
        XCTAssertEqual(stream.handshake(), .wouldBlock)
      }
      XCTAssertEqual(stream.direction, .write)
    }
  }

  // MARK: Counting

  func testRecordsAreCountedHoweverTheyAreDivided() {
    let stream: [UInt8] =
      [0x16, 3, 1, 0, 3, 9, 9, 9] + [0x14, 3, 3, 0, 0] + [0x17, 3, 3, 1, 2] + [UInt8](repeating: 0x80, count: 258) + [0x15, 3, 3, 0, 2, 1, 90]
    for size in [1, 2, 3, 4, 5, 7, 100, 1000] {
      var meter = RecordMeter()
      for start in Swift.stride(from: 0, to: stream.count, by: size) {
        Array(stream[start..<min(start + size, stream.count)]).withUnsafeBytes { meter.received($0) }
      }
      XCTAssertEqual(meter.records, 4, "\(size)")
    }
    // A ClientHello in the form of SSL 2.0, and then a record.
    var meter = RecordMeter()
    ([0x80, 3, 1, 2, 3] + [0x16, 3, 3, 0, 1, 7] as [UInt8]).withUnsafeBytes { meter.received($0) }
    XCTAssertEqual(meter.records, 2)
  }
}
