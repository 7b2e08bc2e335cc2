// BackendGoneTests: backends that die, at every point of a session, and backends that cannot be started.

import Foundation
import Glibc
import XCTest

final class BackendGoneTests: StarttlsdTestCase {
  private let unavailable = "421 4.3.2 Mail server not available, closing connection\r\n"
  private let failed = "421 4.3.0 Mail server failed, closing connection\r\n"

  // MARK: In clear

  func testBeforeItsGreeting() throws {
    for script in ["exit 0", "exit 1", "kill -9 $$", "printf '220 back'; exit", "printf '220-backend\\r'; exit"] {
      try assertSession(script, "", unavailable, "abort server ended: server ended")
    }
  }

  func testBetweenTheLinesOfItsGreeting() throws {
    try assertSession("printf '220-one\\r\\n'", "", "220-one\r\n", "abort server ended: server ended")
  }

  func testAfterItsGreeting() throws {
    for end in ["exit", "kill -9 $$"] {
      try assertSession(
        ShellBackend.script("say '220 backend ESMTP'; \(end)"), "", "220 backend ESMTP\r\n" + failed,
        "abort server ended: server ended")
    }
  }

  func testWithARefusalForAGreeting() throws {
    try assertSession(
      ShellBackend.script("say '421 full'; exit"), "", "421 full\r\n", "abort server refused: server refused")
    try assertSession(
      ShellBackend.script("say '554 no'; exit"), "", "554 no\r\n" + failed, "abort server ended: server ended")
  }

  func testWithAReplyPending() throws {
    for command in ["EHLO client.example", "NOOP", "RSET", "VRFY a", "HELO client.example"] {
      for end in ["exit", "kill -9 $$", "printf 250; exit"] {
        try assertSession(
          ShellBackend.script(answers: [("\(command.prefix(4))*", end)]), command + "\r\n", "220 backend ESMTP\r\n" + failed,
          "abort server ended: server ended")
      }
    }
  }

  /// The client gets its 221 all the same.
  func testWithTheReplyToQUITPending() throws {
    try assertSession(
      ShellBackend.script(answers: [("QUIT", "exit")]), "QUIT\r\n", "220 backend ESMTP\r\n221 2.0.0 Bye\r\n",
      "abort quit: quit")
  }

  /// A 421 inside another reply would mix two codes.
  func testBetweenTheLinesOfAReply() throws {
    for end in ["exit", "kill -9 $$", "printf '214-tw'; exit"] {
      try assertSession(
        ShellBackend.script(answers: [("HELP", "say '214-one'; \(end)")]), "HELP\r\n", "220 backend ESMTP\r\n214-one\r\n",
        "abort server ended: server ended")
    }
  }

  func testWithCommandsWaiting() throws {
    try assertSession(
      ShellBackend.script(answers: [("RSET", "exit")]), "NOOP\r\nRSET\r\nNOOP\r\nMAIL FROM:<a@b>\r\n",
      "220 backend ESMTP\r\n250 done\r\n" + failed, "abort server ended: server ended")
  }

  func testWhileTheClientIsSilent() throws {
    let daemon = try daemon(backend: .script(ShellBackend.script()))
    let client = try client(daemon)
    try client.expect("220 ")
    try client.ask("EHLO client.example")
    daemon.backends.forEach { kill($0, SIGKILL) }
    XCTAssertEqual(try client.remainder().text, failed)
    client.close()
    XCTAssertEqual(try daemon.session().outcome, "abort server ended: server ended")
  }

  func testInTheRelay() throws {
    let daemon = try daemon(backend: .script(ShellBackend.script(answers: [("DATA", "say '354 go on'; exit")])))
    let client = try client(daemon)
    try client.expect("220 ")
    try client.send("EHLO client.example\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")
    for beginning in ["250-", "250 ", "250 "] { try client.expect(beginning) }
    let rest = try client.remainder()
    XCTAssertEqual(rest.text, "354 go on\r\n")
    XCTAssertEqual(rest.end, .end)
    client.close()
    XCTAssertEqual(try daemon.session().outcome, "abort mail: relayed")
  }

  // MARK: Around the handshake

  /// From STARTTLS on nothing of the first one matters.
  func testTheFirstOneAfterSTARTTLSIsNotMissed() throws {
    let daemon = try daemon(backend: .script(ShellBackend.script()))
    let client = try client(daemon)
    try client.expect("220 ")
    try client.ask("EHLO client.example")
    let first = daemon.backends
    XCTAssertEqual(first.count, 1)
    try client.ask("STARTTLS")
    first.forEach { kill($0, SIGKILL) }
    XCTAssertTrue(eventually { daemon.backends.isEmpty })
    try client.sendRaw(try client.beginTLS())
    try client.finishHandshake()
    XCTAssertEqual(try client.ask("NOOP"), "250 done")
    XCTAssertEqual(try client.ask("QUIT"), "221 bye")
    XCTAssertEqual(try client.remainder().end, .closeNotify)
    client.close()
    XCTAssertEqual(try daemon.session().outcome, "handoff: quit")
  }

  func testInsteadOfTheNewGreeting() throws {
    for commands in [
      "exit 0", "kill -9 $$", "say '421 full'", "say '554 no'", "say '250 what'", "say 'hello'", "printf '220 back'",
      "printf '220-one\\r\\n'",
    ] {
      let daemon = try daemon(backend: .script(ShellBackend.afterTheHandshake(commands)))
      let client = try client(daemon)
      try client.expect("220 ")
      try client.ask("EHLO client.example")
      try client.startTLS()
      let rest = try client.remainder()
      XCTAssertEqual(rest.text, unavailable, commands)
      XCTAssertEqual(rest.end, .closeNotify, commands)
      client.close()
      XCTAssertEqual(try daemon.session().outcome, "handoff: restart failed", commands)
    }
  }

  func testInsideTLS() throws {
    for end in ["exit", "kill -9 $$"] {
      for (verb, before) in [("EHLO*", ""), ("NOOP", "250-backend\r\n250 SIZE 1000\r\n")] {
        let script = ShellBackend.script(answers: [(verb, "[ -z \"$SSL_PROTOCOL\" ] || \(end); say '250 backend'")])
        let daemon = try daemon(backend: .script(script))
        let client = try client(daemon)
        try client.expect("220 ")
        try client.ask("EHLO client.example")
        try client.startTLS()
        try client.send("EHLO client.example\r\nNOOP\r\n")
        let rest = try client.remainder()
        XCTAssertEqual(rest.text, before + failed)
        XCTAssertEqual(rest.end, .closeNotify)
        client.close()
        XCTAssertEqual(try daemon.session().outcome, "handoff: server ended")
      }
    }
  }

  // MARK: That cannot be executed

  func testThatCannotBeExecutedAnyMore() throws {
    let daemon = try daemon(backend: .script(ShellBackend.script()))
    let first = try client(daemon)
    try first.expect("220 ")
    try first.ask("EHLO client.example")
    let backend = daemon.folder.path + "/backend"
    for index in 0..<2 {
      // Not executable, then not there.
      if index == 0 { chmod(backend, 0o644) } else { unlink(backend) }
      let second = try client(daemon)
      let rest = try second.remainder()
      XCTAssertEqual(rest.text, unavailable)
      XCTAssertEqual(rest.end, .end)
      second.close()
      XCTAssertTrue(eventually { daemon.sessions.count == index + 1 })
      XCTAssertEqual(daemon.sessions.last?.outcome, "abort server ended: server ended")
      XCTAssertTrue(daemon.sessions.last?["failure"]?.hasPrefix("the backend cannot be started: ") == true, daemon.log)
    }
    // And the session that has one already loses it with STARTTLS.
    try first.startTLS()
    let rest = try first.remainder()
    XCTAssertEqual(rest.text, unavailable)
    XCTAssertEqual(rest.end, .closeNotify)
    first.close()
    let session = try daemon.sessions(3)[2]
    XCTAssertEqual(session.outcome, "handoff: restart failed")
    XCTAssertTrue(session["failure"]?.hasPrefix("the backend cannot be started: ") == true, session.description)
  }

  // MARK: -

  /// A session in clear: what the client sends, all that it gets, and the line of the log.
  private func assertSession(
    _ script: String, _ sent: String, _ received: String, _ outcome: String, file: StaticString = #filePath, line: UInt = #line
  ) throws {
    let daemon = try daemon(backend: .script("say() { printf '%s\\r\\n' \"$@\"; }\n" + script))
    let client = try client(daemon)
    if !sent.isEmpty { try client.send(sent) }
    let rest = try client.remainder()
    XCTAssertEqual(rest.text, received, script, file: file, line: line)
    XCTAssertEqual(rest.end, .end, script, file: file, line: line)
    client.close()
    XCTAssertEqual(try daemon.session(file: file, line: line).outcome, outcome, script, file: file, line: line)
  }
}
