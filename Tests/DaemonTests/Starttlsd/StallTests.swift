// StallTests: peers that do nothing, too little, or something else than a handshake.

import Foundation
import XCTest

final class StallTests: StarttlsdTestCase {
  /// The start of its process must not use up the time of a session.
  override func setUpWithError() throws { _ = try engine().begin(serverName: "mx.example", version: "3") }

  private let timedOut = "421 4.4.2 Timed out, closing connection\r\n"

  func testAStalledHandshakeIsClosedWithoutAText() throws {
    let daemon = try daemon(["--handshake-timeout", "3"])
    let phases: [SessionPhase] = [.handshakeAwaited, .insideTheClientHello, .insideTheHandshake]
    let clients = try phases.map { phase in
      let client = try client(daemon)
      try phase.enter(client)
      return client
    }
    for (phase, client) in zip(phases, clients) {
      let rest = try client.rawRemainder()
      // Of the server's half of the handshake some may have been on its way still.
      XCTAssertTrue(phase == .insideTheHandshake && isOfTLS(rest) || rest.isEmpty, "\(phase): \(rest)")
      client.close()
    }
    for session in try daemon.sessions(3) { XCTAssertEqual(session.outcome, "handoff: handshake timeout") }
  }

  /// Whether these are whole records of TLS and nothing else.
  private func isOfTLS(_ octets: [UInt8]) -> Bool {
    var rest = octets[...]
    while let type = rest.first {
      let head = Array(rest.prefix(5))
      guard head.count == 5, (0x14...0x17).contains(type), head[1] == 3 else { return false }
      let length = 5 + Int(head[3]) * 256 + Int(head[4])
      guard rest.count >= length else { return false }
      rest = rest.dropFirst(length)
    }
    return true
  }

  /// One octet at a time gains nothing.
  func testAHandshakeThatDripsIsClosedAsWell() throws {
    let daemon = try daemon(["--handshake-timeout", "1"])
    let client = try client(daemon)
    try SessionPhase.handshakeAwaited.enter(client)
    var drops = 0
    for octet in try client.beginTLS().prefix(40) {
      guard (try? client.sendRaw([octet])) != nil, !client.hasUnread else { break }
      drops += 1
      usleep(100_000)
    }
    XCTAssertLessThan(drops, 40, "the end comes while it drips")
    XCTAssertEqual(try client.rawRemainder(), [])
    client.close()
    XCTAssertEqual(try daemon.session().outcome, "handoff: handshake timeout")
  }

  func testGarbageInsteadOfAHandshakeIsAnsweredWithAnAlertAtMost() throws {
    let daemon = try daemon()
    let garbage: [[UInt8]] = [
      Array("GET / HTTP/1.1\r\n\r\n".utf8), Array(repeating: 0, count: 100), Array(repeating: 0xFF, count: 70_000),
      [0x16, 3, 1, 0xFF, 0xFF] + Array(repeating: 0x41, count: 5000),
      [0x80, 0x0C, 1, 0, 2, 0, 3, 0, 0, 0, 0, 1, 0, 0x80],
      [0x15, 3, 3, 0, 2, 2, 40],
    ]
    for (index, octets) in garbage.enumerated() {
      let client = try client(daemon)
      try SessionPhase.handshakeAwaited.enter(client)
      try? client.sendRaw(octets)
      let answer = try client.rawRemainder()
      XCTAssertTrue(answer.isEmpty || answer.first == 0x15 && answer.count == 7, "\(answer)")
      client.close()
      XCTAssertEqual(try daemon.sessions(index + 1)[index].outcome, "handoff: tls failed")
    }
  }

  /// Old versions are refused with an alert.
  func testTLS11IsRefused() throws {
    let daemon = try daemon()
    let result = try run(
      [
        "openssl", "s_client", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-starttls", "smtp", "-connect",
        "127.0.0.1:\(daemon.port)",
      ], expecting: nil)
    XCTAssertTrue(result.errors.contains("protocol version"), result.errors)
    XCTAssertEqual(try daemon.session().outcome, "handoff: tls failed")
  }

  func testAStalledClientGets421() throws {
    let daemon = try daemon(["--command-timeout", "1"])
    let phases: [SessionPhase] = [.greeted, .negotiating, .insideALine, .negotiatingInsideTLS]
    let clients = try phases.map { phase in
      let client = try client(daemon)
      try phase.enter(client)
      return client
    }
    for (phase, client) in zip(phases, clients) {
      let rest = try client.remainder()
      XCTAssertEqual(rest.text, timedOut, "\(phase)")
      XCTAssertEqual(rest.end, phase.isInClear ? .end : .closeNotify, "\(phase)")
      client.close()
    }
    let outcomes = try daemon.sessions(4).map(\.outcome)
    XCTAssertEqual(outcomes.filter { $0 == "abort command timeout: command timeout" }.count, 3)
    XCTAssertEqual(outcomes.filter { $0 == "handoff: command timeout" }.count, 1)
  }

  func testACommandThatDripsGets421() throws {
    let daemon = try daemon(["--command-timeout", "1"])
    let client = try client(daemon)
    try client.expect("220 ")
    var drops = 0
    while drops < 40, !client.hasUnread {
      try client.send("N")
      drops += 1
      usleep(100_000)
    }
    XCTAssertLessThan(drops, 40, "the reply comes while it drips")
    XCTAssertEqual(try client.remainder().text, timedOut)
    client.close()
    XCTAssertEqual(try daemon.session().outcome, "abort command timeout: command timeout")
  }

  func testAClientThatOnlyKeepsBusyInClearGets421() throws {
    let daemon = try daemon(["--clear-phase-timeout", "1"])
    let client = try client(daemon)
    try client.expect("220 ")
    var reply = ""
    for _ in 0..<40 where !reply.hasPrefix("421") {
      reply = try client.ask("NOOP")
      usleep(100_000)
    }
    XCTAssertEqual(reply + "\r\n" + (try client.remainder().text), timedOut)
    client.close()
    XCTAssertEqual(try daemon.session().outcome, "abort clear phase timeout: clear phase timeout")
  }

  func testASilentBackendIsGivenUp() throws {
    let unavailable = "421 4.3.2 Mail server not available, closing connection\r\n"
    for (option, script, sent, received, outcome) in [
      ("--greeting-timeout", "exec sleep 60", "", unavailable, "abort greeting timeout: greeting timeout"),
      (
        "--reply-timeout", ShellBackend.script(answers: [("NOOP", "exec sleep 60")]), "NOOP\r\n", "220 backend ESMTP\r\n" + timedOut,
        "abort reply timeout: reply timeout"
      ),
    ] {
      let daemon = try daemon(
        [option, "1", "--backend-grace", "0"], backend: .script(script))
      let client = try client(daemon)
      if !sent.isEmpty { try client.send(sent) }
      XCTAssertEqual(try client.remainder().text, received)
      client.close()
      XCTAssertEqual(try daemon.session().outcome, outcome)
    }
  }

  func testASilentBackendAfterTheHandshakeIsGivenUp() throws {
    let daemon = try daemon(
      ["--greeting-timeout", "1", "--backend-grace", "0"], backend: .script(ShellBackend.afterTheHandshake("exec sleep 60")))
    let client = try client(daemon)
    try SessionPhase.secured.enter(client)
    XCTAssertEqual(try client.remainder().text, "421 4.3.2 Mail server not available, closing connection\r\n")
    client.close()
    XCTAssertEqual(try daemon.session().outcome, "handoff: greeting timeout")
  }

  func testAnIdleRelayIsClosed() throws {
    let daemon = try daemon(["--idle-timeout", "1"])
    let phases: [SessionPhase] = [.dataInClear, .dataInsideTLS]
    let clients = try phases.map { phase in
      let client = try client(daemon)
      try phase.enter(client)
      return client
    }
    for client in clients {
      XCTAssertEqual(try client.remainder().text, "")
      client.close()
    }
    for session in try daemon.sessions(2) { XCTAssertEqual(session["end"], "relay idle") }
    daemon.assertNothingIsDelivered()
  }

  /// Whatever it does: a client that is watched is sent 421, a relay is closed.
  func testASessionEndsAfterItsTime() throws {
    // Long enough for the four to get there.
    let daemon = try daemon(["--session-timeout", "8"])
    let phases: [SessionPhase] = [.negotiating, .negotiatingInsideTLS, .dataInClear, .dataInsideTLS]
    let clients = try phases.map { phase in
      let client = try client(daemon)
      try phase.enter(client)
      return client
    }
    for (phase, client) in zip(phases, clients) {
      let isRelay = phase == .dataInClear || phase == .dataInsideTLS
      XCTAssertEqual(try client.remainder().text, isRelay ? "" : timedOut, "\(phase)")
      client.close()
    }
    for session in try daemon.sessions(phases.count) { XCTAssertEqual(session["end"], "session timeout") }
  }

  /// One that does not read holds nobody else up, costs little memory, and is forgotten when it goes.
  func testAClientThatDoesNotRead() throws {
    let line = String(repeating: "x", count: 500)
    let flood = "while :; do say '214-\(line)' || exit; done"
    let daemon = try daemon(
      backend: .script(
        ShellBackend.script(answers: [
          ("HELP", "say \(String(repeating: "'214-\(line)' ", count: 100)) '214 end'"), ("MAIL*", flood),
        ])))
    let before = ProcessTable.residentMemory(of: daemon.process) ?? 0
    let outcomes = [
      (false, "HELP\r\n", "abort client ended: client lost"), (true, "HELP\r\n", "handoff: client lost"),
      (false, "MAIL FROM:<a@b>\r\n", "abort mail: client lost"), (true, "MAIL FROM:<a@b>\r\n", "handoff: client lost"),
    ]
    for (index, (isSecured, command, outcome)) in outcomes.enumerated() {
      let stalled = try client(daemon, receiveBuffer: 4096)
      try (isSecured ? SessionPhase.secured : .negotiating).enter(stalled)
      for _ in 0..<(command.hasPrefix("HELP") ? 90 : 1) { try stalled.send(command) }
      XCTAssertTrue(stalled.isStalling())
      let other = try client(daemon)
      try SessionPhase.negotiatingInsideTLS.enter(other)
      XCTAssertEqual(try other.ask("QUIT"), "221 bye")
      other.close()
      let grown = (ProcessTable.residentMemory(of: daemon.process) ?? 0) - before
      XCTAssertLessThan(grown, 4 << 20)
      stalled.reset()
      let sessions = try daemon.sessions(2 * index + 2)
      XCTAssertTrue(sessions.contains { $0.outcome == outcome }, "\(sessions)")
    }
  }
}
