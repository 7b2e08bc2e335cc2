// LearnGreetingTests: with --learn-greeting the program is started when it is needed, and nobody else can see it.

import CKernel
import Foundation
import Glibc
import XCTest

final class LearnGreetingTests: LearningTestCase {
  private let learning = ["192.0.2.1 clear", "198.51.100.77 clear", "2001:db8::25 clear"]

  func testOnlyTheFirstSessionAndTheLearningStartTheProgramInClear() throws {
    let folder = TestFolder()
    let daemon = try learntDaemon(["--metrics", "unix:\(folder.path)/metrics"])
    XCTAssertEqual(starts(daemon).sorted(), (["127.0.0.1 clear"] + learning).sorted())

    // A port scanner, and clients that leave.
    for commands in [[], ["EHLO client.example"], ["QUIT"], ["EHLO client.example", "QUIT"]] {
      let client = try client(daemon)
      try client.expect("220 backend ESMTP")
      for command in commands {
        XCTAssertEqual(try client.ask(command), command == "QUIT" ? "221 bye" : "250-backend|250-STARTTLS|250 SIZE 1000")
      }
      if commands.last == "QUIT" { XCTAssertEqual(try client.remainder().text, "") }
      client.close()
    }
    XCTAssertEqual(starts(daemon), [])

    // Each of these is refused by the daemon itself.
    let refused = try client(daemon)
    try refused.expect("220 ")
    try refused.ask("EHLO client.example")
    XCTAssertTrue(try refused.ask("RCPT TO:<b@mx.example>").hasPrefix("503 "))
    XCTAssertTrue(try refused.ask("GET / HTTP/1.1").hasPrefix("554 "))
    refused.close()
    XCTAssertEqual(starts(daemon), [])
    let metrics = try run(["curl", "-sS", "--max-time", "10", "--unix-socket", "\(folder.path)/metrics", "http://localhost/metrics"]).output
    XCTAssertTrue(metrics.contains("\nstarttlsd_backend_starts_saved_total 5\n"), metrics)
  }

  func testASTARTTLSSessionStartsTheProgramOnce() throws {
    let daemon = try learntDaemon()
    _ = starts(daemon)
    let client = try client(daemon)
    try client.expect("220 backend ESMTP")
    try client.ask("EHLO client.example")
    try client.startTLS()
    XCTAssertEqual(try client.ask("EHLO client.example"), "250-backend|250 SIZE 1000")
    for command in ["MAIL FROM:<a@client.example>", "RCPT TO:<b@mx.example>"] { XCTAssertEqual(try client.ask(command), "250 done") }
    try client.ask("DATA")
    XCTAssertEqual(try client.ask("Hello.\r\n."), "250 stored")
    XCTAssertEqual(try client.ask("QUIT"), "221 bye")
    client.close()
    XCTAssertEqual(starts(daemon), ["127.0.0.1 TLSv1.3"])
  }

  /// Each command that only the program can answer, after the greeting and after EHLO.
  func testTheProgramIsStartedForWhatOnlyItCanAnswer() throws {
    let daemon = try learntDaemon([], LearningTestCase.script(answers: [("NOOP*", "say \"250 $TCPREMOTEIP\"")]))
    _ = starts(daemon)
    for (dialogue, replies) in [
      (["HELO client.example", "QUIT"], ["250 done", "221 bye"]),
      (["NOOP"], ["250 127.0.0.1"]),
      (["EHLO client", "QUIT"], ["250-backend|250-STARTTLS|250 SIZE 1000", "221 bye"]),
      (["EHLO client.example", "NOOP", "QUIT"], ["250-backend|250-STARTTLS|250 SIZE 1000", "250 127.0.0.1", "221 bye"]),
      (["EHLO client.example", "EHLO client.example"], Array(repeating: "250-backend|250-STARTTLS|250 SIZE 1000", count: 2)),
      (["EHLO client.example", "MAIL FROM:<a@b.example>", "RSET", "QUIT"], ["250-backend|250-STARTTLS|250 SIZE 1000", "250 done", "250 done", "221 bye"]),
    ] {
      for isPipelined in [false, true] {
        let client = try client(daemon)
        if isPipelined {
          try client.send(dialogue.map { $0 + "\r\n" }.joined())
          try client.expect("220 backend ESMTP")
          XCTAssertEqual(try dialogue.map { _ in try client.reply() }, replies)
        } else {
          try client.expect("220 backend ESMTP")
          XCTAssertEqual(try dialogue.map { try client.ask($0) }, replies)
        }
        client.close()
        XCTAssertEqual(starts(daemon), ["127.0.0.1 clear"], "\(dialogue)")
      }
    }
    XCTAssertFalse(daemon.log.contains("has not sent a client"), daemon.log)
  }

  /// After the program was started in clear, STARTTLS ends it and starts another one.
  func testSTARTTLSAfterTheProgramWasNeeded() throws {
    let daemon = try learntDaemon()
    _ = starts(daemon)
    let client = try client(daemon)
    try client.expect("220 ")
    try client.ask("EHLO client.example")
    XCTAssertEqual(try client.ask("NOOP"), "250 done")
    try client.startTLS()
    XCTAssertEqual(try client.ask("EHLO client.example"), "250-backend|250 SIZE 1000")
    XCTAssertEqual(try client.ask("QUIT"), "221 bye")
    client.close()
    XCTAssertEqual(starts(daemon), ["127.0.0.1 clear", "127.0.0.1 TLSv1.3"])
  }

  func testTLSRequired() throws {
    let daemon = try learntDaemon(["--policy", "required"])
    _ = starts(daemon)
    let client = try client(daemon)
    try client.expect("220 ")
    try client.ask("EHLO client.example")
    XCTAssertTrue(try client.ask("MAIL FROM:<a@client.example>").hasPrefix("530 "))
    try client.startTLS()
    XCTAssertEqual(try client.ask("MAIL FROM:<a@client.example>"), "250 done")
    client.close()
    XCTAssertEqual(starts(daemon), ["127.0.0.1 TLSv1.3"])
  }

  func testLMTP() throws {
    let answers = [("LHLO*", "say '250 backend'"), ("EHLO*", "say '500 no'")]
    let daemon = try learntDaemon(["--protocol", "lmtp"], LearningTestCase.script(answers: answers))
    _ = starts(daemon)
    let client = try client(daemon)
    try client.expect("220 ")
    XCTAssertEqual(try client.ask("LHLO client.example"), "250-backend|250 STARTTLS")
    XCTAssertEqual(try client.ask("MAIL FROM:<a@client.example>"), "250 done")
    client.close()
    XCTAssertEqual(starts(daemon), ["127.0.0.1 clear"])
  }

  /// Both processes of a session are reserved, although none is started yet.
  func testASessionHasItsProcessesReserved() throws {
    let daemon = try learntDaemon(["--max-backends", "4"])
    let clients = [try client(daemon), try client(daemon)]
    for client in clients { try client.expect("220 ") }
    let third = try client(daemon)
    XCTAssertEqual(try third.remainder().text, "421 4.3.2 Too many connections, try again later\r\n")
    for client in clients {
      try client.ask("EHLO client.example")
      XCTAssertEqual(try client.ask("NOOP"), "250 done")
      try client.startTLS()
      XCTAssertEqual(try client.ask("QUIT"), "221 bye")
      client.close()
    }
    XCTAssertEqual(try daemon.sessions(3).map(\.outcome).filter { $0 == "handoff: quit" }.count, 2)
    XCTAssertFalse(daemon.log.contains("cannot be started"), daemon.log)
  }

  /// From STARTTLS on a session needs one process only.
  func testASessionInItsHandshakeHasOneProcessReserved() throws {
    let daemon = try learntDaemon(["--max-backends", "4"])
    let clients = [try client(daemon), try client(daemon)]
    for client in clients {
      try client.expect("220 ")
      try client.ask("EHLO client.example")
      XCTAssertTrue(try client.ask("STARTTLS").hasPrefix("220 "))
    }
    let third = try client(daemon)
    try third.expect("220 ")
    XCTAssertEqual(try third.ask("QUIT"), "221 bye")
    for client in clients + [third] { client.close() }
    _ = try daemon.sessions(4)
  }

  /// With a real server: mail in clear and inside TLS, and a recording that is the same when it is played again.
  func testMailToMaildirSMTPD() throws {
    let folder = TestFolder()
    chmod(folder.path, 0o700)
    let daemon = try daemon(["--learn-greeting", "--record", folder.path, "--record-share", "1/1"])
    try SessionPhase.greeted.enter(client(daemon))
    try waitForLog(daemon, LearningTestCase.isLearnt)
    for isInTLS in [false, true] {
      let client = try client(daemon)
      try (isInTLS ? SessionPhase.negotiatingInsideTLS : .negotiating).enter(client)
      for command in ["MAIL FROM:<a@client.example>", "RCPT TO:<b@mx.example>"] { XCTAssertTrue(try client.ask(command).hasPrefix("250 ")) }
      XCTAssertTrue(try client.ask("DATA").hasPrefix("354 "))
      XCTAssertTrue(try client.ask("Subject: x\r\n\r\nHello.\r\n.").hasPrefix("250 2.0.0 Delivered as "))
      XCTAssertEqual(try client.ask("QUIT"), "221 2.0.0 Bye")
      client.close()
    }
    XCTAssertTrue(eventually { daemon.sessions.count == 2 }, daemon.log)
    XCTAssertEqual(daemon.sessions.map(\.outcome).sorted(), ["abort mail: relayed", "handoff: relayed"])
    XCTAssertEqual(daemon.messages.count, 2)
    XCTAssertFalse(daemon.log.contains("has not sent a client"), daemon.log)
    let played = { folder.names(in: "").filter { folder.text($0).contains(" over ") } }
    XCTAssertTrue(eventually { played().count == 2 }, daemon.log)
    for name in played() {
      let replay = try run([Programs.path("starttls-replay"), folder.path + "/" + name]).output
      XCTAssertTrue(replay.contains("the same: "), replay + folder.text(name))
    }
  }

  func testTheDaemonStops() throws {
    let daemon = try learntDaemon(["--grace", "0"])
    let client = try client(daemon)
    try client.expect("220 ")
    try client.ask("EHLO client.example")
    try assertStops(daemon, before: client)
  }

  func testOptionsThatCannotWorkAreAUsageError() throws {
    let good = try certificate()
    let pair = ["--certificate", good.certificate, "--key", good.key, "--allow-root"]
    for (options, text) in [
      (["--learn-greeting", "--backend", "127.0.0.1:1", "--backend-client", "none"], "--learn-greeting cannot be used with --backend"),
      (["--learn-greeting", "--learn-interval", "0", "--", "/bin/cat"], "--learn-interval 0"),
    ] {
      let result = try run([Programs.path("starttlsd")] + pair + options, expecting: .exited(100))
      XCTAssertTrue(result.errors.contains(text), "\(options): \(result.errors)")
    }
    // A client's connection is looked at first.
    var ends: [CInt] = [-1, -1]
    XCTAssertEqual(socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0, &ends), 0)
    defer { for end in ends { close(end) } }
    let folder = TestFolder()
    let program = try SpawnedProgram(
      [Programs.path("starttlsd")] + pair + ["--learn-greeting", "--inetd", "--", "/bin/cat"], input: .descriptor(ends[0]),
      output: .descriptor(ends[0]), errors: .file(folder.path + "/log"))
    XCTAssertEqual(program.wait(), .exited(100))
    XCTAssertTrue(folder.text("log").contains("--learn-greeting cannot be used with --inetd"), folder.text("log"))
  }
}
