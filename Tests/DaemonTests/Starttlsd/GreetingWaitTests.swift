// GreetingWaitTests: with --greeting-wait a client must wait for the greeting, and no backend runs for it meanwhile.

import Foundation
import Glibc
import XCTest

final class GreetingWaitTests: StarttlsdTestCase {
  private let early = "554 5.5.1 Octets before the greeting not accepted, closing connection\r\n"
  private let backend = "echo started >>$FOLDER/started\n" + ShellBackend.script()

  func testAClientThatWaitsIsServed() throws {
    let daemon = try daemon(["--greeting-wait", "1"], backend: .script(backend))
    let start = Date()
    let client = try client(daemon)
    try client.expect("220 ")
    XCTAssertGreaterThan(Date().timeIntervalSince(start), 0.9)
    try client.ask("EHLO client.example")
    try client.startTLS()
    XCTAssertEqual(try client.ask("QUIT"), "221 bye")
    client.close()
    XCTAssertEqual(try daemon.session().outcome, "handoff: quit")
  }

  func testAnEarlyTalkerGets554AndAPenalty() throws {
    let daemon = try daemon(["--greeting-wait", "30", "--max-penalty", "10"], backend: .script(backend))
    for _ in 0..<2 {
      let client = try client(daemon, from: "127.0.0.2")
      try client.send("EHLO client.example\r\nMAIL FROM:<a@client.example>\r\n")
      let rest = try client.remainder()
      XCTAssertEqual(rest.text, early)
      XCTAssertEqual(rest.end, .end)
      client.close()
    }
    let again = try client(daemon, from: "127.0.0.2")
    try again.expect("421 4.7.0 ")
    again.close()
    XCTAssertTrue(daemon.log.contains("its address has 10 penalty points"), daemon.log)
    for session in try daemon.sessions(2) {
      XCTAssertEqual(session["end"], "early talker before the greeting")
      XCTAssertTrue(session["peer"]?.hasPrefix("127.0.0.2:") == true)
    }
    XCTAssertEqual(daemon.folder.text("started"), "")
  }

  func testAClientThatLeavesCostsNoProcess() throws {
    let daemon = try daemon(["--greeting-wait", "30"], backend: .script(backend))
    let (first, second) = (try client(daemon), try client(daemon))
    first.close()
    second.reset()
    for session in try daemon.sessions(2) { XCTAssertEqual(session["end"], "client lost before the greeting") }
    XCTAssertEqual(daemon.folder.text("started"), "")
  }

  /// Those that wait count: for all clients, and for the address.
  func testClientsThatWaitCount() throws {
    let daemon = try daemon(
      ["--greeting-wait", "30", "--max-connections", "2", "--max-connections-per-address", "1"], backend: .script(backend))
    let first = try client(daemon, from: "127.0.0.2")
    let same = try client(daemon, from: "127.0.0.2")
    try same.expect("421 4.7.0 ")
    let second = try client(daemon, from: "127.0.0.3")
    let third = try client(daemon, from: "127.0.0.4")
    try third.expect("421 4.3.2 ")
    XCTAssertFalse(first.hasUnread || second.hasUnread)
    for client in [first, second] { client.close() }
    _ = try daemon.sessions(2)
  }

  func testAnExemptClientDoesNotWait() throws {
    let daemon = try daemon(["--greeting-wait", "30", "--exempt", "127.0.0.1"], backend: .script(backend))
    let client = try client(daemon)
    try client.expect("220 ")
  }

  func testAStopEndsTheWait() throws {
    let daemon = try daemon(["--greeting-wait", "30"], backend: .script(backend))
    let client = try client(daemon)
    // The second connection was accepted after the first one.
    let second = try self.client(daemon)
    second.reset()
    XCTAssertTrue(eventually { daemon.sessions.count == 1 })
    daemon.program.signal(SIGTERM)
    XCTAssertTrue(eventually { daemon.log.contains("stopping: ") })
    daemon.program.signal(SIGTERM)
    try client.expect("421 4.3.2 Service shutting down")
    client.close()
    XCTAssertEqual(daemon.program.wait(), .exited(0))
  }
}
