// StopTests: the daemon is told to stop. Mail on its way is not cut off before the grace time is over.

import Foundation
import Glibc
import XCTest

final class StopTests: StarttlsdTestCase {
  func testNothingMoreIsAcceptedAndRunningSessionsEndNormally() throws {
    for signal in [SIGTERM, SIGINT] {
      let daemon = try daemon(["--grace", "10"])
      let phases: [SessionPhase] = [
        .greeted, .negotiating, .handshakeAwaited, .negotiatingInsideTLS, .dataInClear, .dataInsideTLS,
      ]
      let clients = try phases.map { phase in
        let client = try client(daemon)
        try phase.enter(client)
        return client
      }
      daemon.program.signal(signal)
      XCTAssertTrue(eventually { daemon.log.contains("stopping: 6 sessions have 10 s to end") }, daemon.log)
      XCTAssertThrowsError(try client(daemon), "a connection was accepted")
      // Whoever is in the middle of something may go on for a while, even with STARTTLS.
      try clients[2].sendRaw(try clients[2].beginTLS())
      try clients[2].finishHandshake()
      for client in clients[..<4] {
        XCTAssertEqual(try client.ask("NOOP"), "250 2.0.0 OK")
        XCTAssertEqual(try client.ask("QUIT"), "221 2.0.0 Bye")
      }
      for client in clients[4...] {
        XCTAssertTrue(try client.ask("ne.\r\n.").hasPrefix("250 2.0.0 Delivered as "))
        XCTAssertEqual(try client.ask("QUIT"), "221 2.0.0 Bye")
      }
      XCTAssertTrue(daemon.program.isRunning, "it must wait for the ends of the connections")
      for client in clients { client.close() }
      XCTAssertEqual(daemon.program.wait(within: 3), .exited(0), daemon.log)
      daemon.assertNothingIsLeft()
      XCTAssertEqual(daemon.messages.map(\.text), Array(repeating: "Subject: half a message\n\nHalf a line.\n", count: 2))
      XCTAssertEqual(daemon.sessions.count, 6)
      XCTAssertTrue(daemon.log.hasSuffix("stopped\n"), daemon.log)
    }
  }

  func testAnIdleDaemonStopsAtOnce() throws {
    let daemon = try daemon(["--grace", "100"])
    daemon.program.signal(SIGTERM)
    XCTAssertEqual(daemon.program.wait(within: 1), .exited(0), daemon.log)
  }

  func testBehindTheGraceTimeStuckSessionsAreCutOff() throws {
    let daemon = try daemon(["--grace", "1"])
    let phases: [SessionPhase] = [.greeted, .handshakeAwaited, .negotiatingInsideTLS, .dataInClear, .dataInsideTLS]
    let clients = try phases.map { phase in
      let client = try client(daemon)
      try phase.enter(client)
      return client
    }
    let start = Date()
    daemon.program.signal(SIGTERM)
    for client in clients { XCTAssertEqual(try client.rawRemainder(), []) }
    XCTAssertEqual(daemon.program.wait(within: 3), .exited(0), daemon.log)
    XCTAssertGreaterThan(Date().timeIntervalSince(start), 0.9)
    daemon.assertNothingIsLeft()
    daemon.assertNothingIsDelivered()
    XCTAssertEqual(daemon.sessions.count, 5)
    for session in daemon.sessions { XCTAssertEqual(session["end"], "stopped", "\(session)") }
  }

  func testASecondSignalEndsTheGraceTime() throws {
    let daemon = try daemon(["--grace", "100"])
    let stuck = try client(daemon)
    try SessionPhase.dataInsideTLS.enter(stuck)
    let other = try client(daemon)
    try SessionPhase.negotiating.enter(other)
    daemon.program.signal(SIGTERM)
    XCTAssertTrue(eventually { daemon.log.contains("stopping: 2 sessions") }, daemon.log)
    XCTAssertEqual(try other.ask("NOOP"), "250 2.0.0 OK", "it runs on")
    daemon.program.signal(SIGTERM)
    XCTAssertEqual(daemon.program.wait(within: 1), .exited(0), daemon.log)
    daemon.assertNothingIsLeft()
    daemon.assertNothingIsDelivered()
    XCTAssertEqual(daemon.sessions.map { $0["end"] }, ["stopped", "stopped"])
  }

  /// It gets SIGTERM, then SIGKILL.
  func testABackendThatDoesNotWantToEndIsKilled() throws {
    let daemon = try daemon(
      ["--grace", "0"], backend: .script(ShellBackend.script("trap '' TERM; say '220 backend ESMTP'; exec sleep 1000")))
    let client = try client(daemon)
    try client.expect("220 ")
    daemon.program.signal(SIGTERM)
    XCTAssertEqual(daemon.program.wait(within: 5), .exited(0), daemon.log)
    daemon.assertNothingIsLeft()
    XCTAssertTrue(daemon.log.contains("was ended by signal 9"), daemon.log)
  }

  /// The same behind a session of a daemon that runs on, within its own grace time.
  func testABackendThatStaysBehindItsSessionIsEnded() throws {
    let daemon = try daemon(
      ["--backend-grace", "1"], backend: .script(ShellBackend.script("say '220 backend ESMTP'; exec sleep 1000")))
    let client = try client(daemon)
    try client.expect("220 ")
    client.close()
    XCTAssertTrue(eventually { daemon.sessions.count == 1 })
    XCTAssertEqual(daemon.backends.count, 1, "it has a second to end")
    XCTAssertTrue(eventually(within: 3) { daemon.backends.isEmpty })
    XCTAssertTrue(daemon.log.contains("was ended by signal 15"), daemon.log)
    _ = try daemon.session()
  }

  /// At the limit nobody more is accepted; the next one is once another has ended.
  func testConnectionsOverTheLimitWait() throws {
    let daemon = try daemon(["--max-connections", "2"])
    let first = try client(daemon)
    let second = try client(daemon)
    for client in [first, second] { try client.expect("220 ") }
    let third = try client(daemon)
    // The daemon reads the second of these after everything that it found together with the first or earlier; the third
    // connection is among that.
    for _ in 0..<2 { XCTAssertEqual(try second.ask("NOOP"), "250 2.0.0 OK") }
    XCTAssertEqual(daemon.backends.count, 2)
    XCTAssertFalse(third.hasUnread)
    first.close()
    try third.expect("220 ")
    XCTAssertEqual(try third.ask("QUIT"), "221 2.0.0 Bye")
    third.close()
    second.close()
    _ = try daemon.sessions(3)
  }

  /// The soft limit of descriptors is raised to what the sessions need; where the hard one is lower, that is said.
  func testDescriptorsForAllSessions() throws {
    func softLimit(_ daemon: RunningDaemon) throws -> String {
      let limits = try String(contentsOfFile: "/proc/\(daemon.process)/limits", encoding: .utf8)
      let line = try XCTUnwrap(limits.split(separator: "\n").first { $0.hasPrefix("Max open files") })
      return String(line.split(separator: " ")[3])
    }
    let few = try daemon(["--max-connections", "300"])
    XCTAssertGreaterThanOrEqual(try XCTUnwrap(Int(try softLimit(few))), 300 * 5)
    XCTAssertFalse(few.log.contains("limit of descriptors"))
    let many = try daemon(["--max-connections", "1000000"])
    XCTAssertTrue(many.log.contains("the limit of descriptors allows"), many.log)
  }
}
