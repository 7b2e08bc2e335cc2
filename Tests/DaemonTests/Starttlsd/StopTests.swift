// StopTests: the daemon gets SIGTERM. Mail on its way is not cut off before the grace time is over.

import Foundation
import Glibc
import XCTest

final class StopTests: StarttlsdTestCase {
  func testNothingMoreIsAcceptedAndRunningSessionsEndNormally() throws {
    for signal in [SIGTERM, SIGINT] {
      let daemon = try daemon(["--grace", "60"])
      let phases: [SessionPhase] = [
        .greeted, .negotiating, .handshakeAwaited, .negotiatingInsideTLS, .dataInClear, .dataInsideTLS,
      ]
      let clients = try phases.map { phase in
        let client = try client(daemon)
        try phase.enter(client)
        return client
      }
      daemon.program.signal(signal)
      XCTAssertTrue(eventually { daemon.log.contains("stopping: 6 sessions have 60 s to end") }, daemon.log)
      assertRefuses(daemon.port)
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
      XCTAssertEqual(daemon.program.wait(), .exited(0), daemon.log)
      daemon.assertNothingIsLeft()
      XCTAssertEqual(daemon.messages.map(\.text), Array(repeating: "Subject: half a message\n\nHalf a line.\n", count: 2))
      XCTAssertEqual(daemon.sessions.count, 6)
      XCTAssertTrue(daemon.log.hasSuffix("stopped\n"), daemon.log)
    }
  }

  func testAnIdleDaemonStopsAtOnce() throws {
    let daemon = try daemon(["--grace", "100"])
    daemon.program.signal(SIGTERM)
    XCTAssertEqual(daemon.program.wait(), .exited(0), daemon.log)
  }

  private let stopping = "421 4.3.2 Service shutting down, closing connection\r\n"

  /// RFC 5321, 3.8. Where a reply may come there is a 421, in clear and inside TLS; elsewhere not one octet.
  func testAfterTheGraceTimeClientsGet421WhereAReplyMayCome() throws {
    let daemon = try daemon(["--grace", "1"])
    let answered: [SessionPhase] = [.greeted, .negotiating, .insideALine, .secured, .negotiatingInsideTLS]
    let unanswered: [SessionPhase] = [
      .handshakeAwaited, .insideTheClientHello, .insideTheHandshake, .dataInClear, .dataInsideTLS,
    ]
    func enter(_ phase: SessionPhase) throws -> SMTPClient {
      let client = try client(daemon)
      try phase.enter(client)
      return client
    }
    let (first, second) = (try answered.map(enter), try unanswered.map(enter))
    let start = Date()
    daemon.program.signal(SIGTERM)
    for (phase, client) in zip(answered, first) {
      let rest = try client.remainder()
      XCTAssertEqual(rest.text, stopping, "\(phase)")
      XCTAssertEqual(rest.end, phase.isInClear ? .end : .closeNotify, "\(phase)")
      client.close()
    }
    for (phase, client) in zip(unanswered, second) {
      let rest = try client.rawRemainder()
      // The server's half of the handshake may have been on its way still.
      let isExpected = phase == .insideTheHandshake ? (0x14...0x17).contains(rest.first ?? 0x17) : rest.isEmpty
      XCTAssertTrue(isExpected, "\(phase): \(rest)")
    }
    XCTAssertEqual(daemon.program.wait(), .exited(0), daemon.log)
    XCTAssertGreaterThan(Date().timeIntervalSince(start), 0.9)
    daemon.assertNothingIsLeft()
    daemon.assertNothingIsDelivered()
    XCTAssertEqual(daemon.sessions.count, 10)
    for session in daemon.sessions { XCTAssertEqual(session["end"], "stopped", "\(session)") }
  }

  /// Not in the middle of a reply, where it would be a line of that reply; and not in place of what was asked for in a relay.
  func testNoTextOfOursInsideAReply() throws {
    let script = ShellBackend.script(answers: [("HELP", "say '214-one'; exec sleep 60")])
    let daemon = try daemon(["--grace", "0"], backend: .script(script))
    for phase in [SessionPhase.negotiating, .negotiatingInsideTLS] {
      let client = try client(daemon)
      try phase.enter(client)
      try client.send("HELP\r\n")
      XCTAssertTrue(eventually { client.hasUnread })
      clients.append(client)
    }
    daemon.program.signal(SIGTERM)
    for client in clients { XCTAssertEqual(try client.remainder().text, "214-one\r\n") }
    XCTAssertEqual(daemon.program.wait(), .exited(0), daemon.log)
  }

  private var clients: [SMTPClient] = []

  /// A client that stays after its 421 holds the end up for two seconds only; a third signal ends that as well.
  func testAClientThatStaysAfterIts421IsCutOff() throws {
    XCTAssertGreaterThan(try secondsToTheEnd(isHurried: false), 1.5)
    // Again if the machine was busy: without the third signal it never takes less.
    XCTAssertTrue(try eventually { try secondsToTheEnd(isHurried: true) < 1.5 })
  }

  /// From the second signal to the end of the daemon, with a third signal or without it.
  private func secondsToTheEnd(isHurried: Bool) throws -> TimeInterval {
    let daemon = try daemon(["--grace", "100"])
    let client = try client(daemon)
    try SessionPhase.negotiating.enter(client)
    daemon.program.signal(SIGTERM)
    XCTAssertTrue(eventually { daemon.log.contains("stopping: 1 sessions") })
    let start = Date()
    daemon.program.signal(SIGINT)
    try client.expect("421 4.3.2 ")
    if isHurried { daemon.program.signal(SIGTERM) }
    XCTAssertEqual(daemon.program.wait(), .exited(0), daemon.log)
    XCTAssertEqual(daemon.sessions.map { $0["end"] }, ["stopped"])
    return Date().timeIntervalSince(start)
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
    // A client that waits between two commands gets its 421 now.
    try other.expect("421 4.3.2 ")
    other.close()
    XCTAssertEqual(daemon.program.wait(), .exited(0), daemon.log)
    daemon.assertNothingIsLeft()
    daemon.assertNothingIsDelivered()
    XCTAssertEqual(daemon.sessions.map { $0["end"] }, ["stopped", "stopped"])
  }

  /// It gets SIGTERM, then SIGKILL.
  func testABackendThatDoesNotEndIsKilled() throws {
    let daemon = try daemon(
      ["--grace", "0"], backend: .script(ShellBackend.script("trap '' TERM; say '220 backend ESMTP'; exec sleep 1000")))
    let client = try client(daemon)
    try client.expect("220 ")
    daemon.program.signal(SIGTERM)
    XCTAssertEqual(daemon.program.wait(), .exited(0), daemon.log)
    daemon.assertNothingIsLeft()
    XCTAssertTrue(daemon.log.contains("was ended by signal 9"), daemon.log)
  }

  /// The same after a session of a daemon that runs on, within its own grace time.
  func testABackendThatStaysAfterItsSessionIsEnded() throws {
    let daemon = try daemon(
      ["--backend-grace", "1"], backend: .script(ShellBackend.script("say '220 backend ESMTP'; exec sleep 1000")))
    let client = try client(daemon)
    try client.expect("220 ")
    let start = Date()
    client.close()
    XCTAssertTrue(eventually { daemon.sessions.count == 1 })
    let count = daemon.backends.count
    // A slow test looks too late.
    XCTAssertTrue(count == 1 || Date().timeIntervalSince(start) > 0.9, "it has a second to end")
    XCTAssertTrue(eventually { daemon.backends.isEmpty })
    // Its parent has reaped it before the daemon is informed.
    XCTAssertTrue(eventually { daemon.log.contains("was ended by signal 15") }, daemon.log)
    _ = try daemon.session()
  }

  /// The soft limit of descriptors is raised to what the sessions need; where the hard one is lower, that is reported.
  func testDescriptorsForAllSessions() throws {
    let few = try daemon(["--max-connections", "300"])
    XCTAssertGreaterThanOrEqual(try XCTUnwrap(few.descriptorLimit), 300 * 5)
    XCTAssertFalse(few.log.contains("limit of descriptors"))
    let many = try daemon(["--max-connections", "1000000"])
    XCTAssertTrue(many.log.contains("the limit of descriptors allows"), many.log)
    // Without the right to raise it, and with it.
    let low = "ulimit -Sn 256; ulimit -Hn 2000"
    let bound = try daemon(["--max-connections", "1000"], under: RunningDaemon.underLimit(low))
    XCTAssertEqual(bound.descriptorLimit, 2000)
    XCTAssertTrue(bound.log.contains("the limit of descriptors allows"), bound.log)
    guard RunningDaemon.mayRaiseLimits else { return }
    let raised = try daemon(["--max-connections", "1000"], under: ["/bin/sh", "-c", "\(low); exec \"$@\"", "sh"])
    XCTAssertGreaterThanOrEqual(try XCTUnwrap(raised.descriptorLimit), 1000 * 5)
    XCTAssertFalse(raised.log.contains("limit of descriptors"), raised.log)
  }
}
