// How often a session reads: once for what has arrived, and not where nothing was reported.

import Glibc
@testable import Transport
import XCTest

@testable import TransportKit

final class ReadsOfASessionTests: XCTestCase {
  private var calls: [Kernel.Call: Int] = [:]

  private func counting(_ body: () throws -> Void) rethrows {
    calls = [:]
    Kernel.fault = { [unowned self] call in
      calls[call, default: 0] += 1
      return nil
    }
    defer { Kernel.fault = nil }
    try body()
  }

  func testACommandAndItsReply() throws {
    let session = try BareSession()
    session.server.put("220 ready\r\n")
    session.turn()
    XCTAssertEqual(session.client.get(), "220 ready\r\n")
    session.client.put("EHLO c\r\n")
    counting { session.driver.turn(now: 0, client: true, server: false) }
    XCTAssertEqual(session.server.get(), "EHLO c\r\n")
    // The client's octets are shown, then taken: they could belong to a TLS engine.
    XCTAssertEqual(calls, [.recv: 2, .send: 1])
    session.server.put("250-mx\r\n250-A\r\n250-B\r\n250-C\r\n250-D\r\n250 E\r\n")
    counting { session.driver.turn(now: 0, client: false, server: true) }
    XCTAssertTrue(session.client.get().hasSuffix("250 E\r\n"))
    XCTAssertEqual(calls, [.recv: 1, .send: 1])
  }

  /// A side without an event is not read, and nothing of it is lost.
  func testASideWithoutAnEvent() throws {
    let session = try BareSession()
    session.server.put("220 ready\r\n")
    session.turn()
    session.client.put("NOOP\r\n")
    counting { session.driver.turn(now: 0, client: false, server: true) }
    XCTAssertEqual(session.server.get(), "")
    XCTAssertEqual(calls[.recv], 1)
    XCTAssertEqual(session.driver.watches.client?.events, CShort(POLLIN), "it is reported at the next wait")
    session.driver.turn(now: 0, client: true, server: false)
    XCTAssertEqual(session.server.get(), "NOOP\r\n")
  }

  /// The server is read first if both have something: its 421 counts before the client's command.
  func testTheServerFirst() throws {
    let session = try BareSession()
    session.server.put("220 ready\r\n")
    session.turn()
    _ = session.client.get()
    session.client.put("NOOP\r\n")
    session.server.put("421 closing\r\n")
    session.driver.turn(now: 0, client: true, server: true)
    XCTAssertEqual(session.server.get(), "")
    XCTAssertTrue(session.client.get().hasPrefix("421 "))
  }

  /// poll reports an urgent octet of a Unix socket until it is read, and a peek does not show it.
  func testAnUrgentOctetIsReportedOnce() throws {
    let session = try BareSession()
    session.server.put("220 ready\r\n")
    session.turn()
    try session.client.putUrgent()
    session.driver.turn(now: 0, client: true, server: false)
    let watch = try XCTUnwrap(session.driver.watches.client)
    XCTAssertEqual(watch.events, CShort(POLLIN))
    XCTAssertEqual(try Kernel.pollNow(watch.descriptor, CInt(watch.events)), 0)
    session.client.put("NOOP\r\n")
    session.turn()
    XCTAssertEqual(session.server.get(), "NOOP\r\n")
  }

  /// The event loop of a daemon may still wait for input of a client that the session does not want.
  func testAnUrgentOctetBeforeTheGreeting() throws {
    let session = try BareSession()
    session.turn()
    try session.client.putUrgent()
    session.driver.turn(now: 0, client: true, server: false)
    let watch = try XCTUnwrap(session.driver.watches.client)
    XCTAssertEqual(try Kernel.pollNow(watch.descriptor, CInt(POLLIN)), 0)
    session.client.put("NOOP\r\n")
    session.server.put("220 ready\r\n")
    session.turn()
    XCTAssertEqual(session.server.get(), "NOOP\r\n")
  }

  /// Greeting and EHLO. The answer is what the client has received.
  private func greet(_ session: BareSession) -> String {
    session.server.put("220 ready\r\n")
    session.turn()
    session.client.put("EHLO c\r\n")
    session.turn()
    session.server.put("250 mx\r\n")
    session.turn()
    return session.client.get()
  }

  /// The peek before the 220 shows whether there is a ClientHello: without one the handshake begins at the next event.
  func testTheHandshakeBeginsWithTheClientsOctets() throws {
    for (command, isEager) in [("STARTTLS\r\n", false), ("STARTTLS\r\n\u{16}\u{3}\u{1}", true)] {
      let stream = WaitingStream()
      let session = try BareSession(tls: stream)
      XCTAssertTrue(greet(session).hasSuffix("250 STARTTLS\r\n"))
      session.client.put(command)
      counting { session.driver.turn(now: 0, client: true, server: false) }
      XCTAssertTrue(session.client.get().hasPrefix("220 "))
      // Shown and taken, and then the peek.
      XCTAssertEqual(calls, [.recv: 3, .send: 1])
      XCTAssertEqual(stream.continuations, isEager ? 1 : 0)
      XCTAssertEqual(session.driver.watches.client?.events, CShort(POLLIN))
      session.client.put("\u{16}")
      session.driver.turn(now: 0, client: true, server: false)
      XCTAssertEqual(stream.continuations, isEager ? 2 : 1)
    }
  }

  /// What the server has sent before the relay begins, and what is kept of it, passes.
  func testOctetsThatAreKeptPassIntoTheRelay() throws {
    let session = try BareSession()
    _ = greet(session)
    session.client.put("MAIL FROM:<a@b>\r\n")
    session.turn()
    XCTAssertEqual(session.driver.state, .relaying)
    let reply = String(repeating: "250-x\r\n", count: 4_000) + "250 y\r\n"
    session.server.put(reply)
    session.turn()
    XCTAssertEqual(session.client.get(), reply)
  }
}
