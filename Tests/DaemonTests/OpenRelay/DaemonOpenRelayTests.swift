// DaemonOpenRelayTests: starttlsd in front of real servers: none of them relays for a stranger, or it does not start.

import XCTest

final class DaemonOpenRelayTests: StarttlsdTestCase {
  /// 127.0.0.1 may relay nearly everywhere, by Debian's rules too.
  private let stranger = "127.0.0.2"

  /// What a stranger's recipients are answered, in clear and inside TLS.
  private func replies(_ daemon: RunningDaemon, _ recipients: [String]) throws -> [[String]] {
    try [false, true].map { isInsideTLS in
      try client(daemon, from: stranger).repliesToRecipients(recipients, isInsideTLS: isInsideTLS)
    }
  }

  private func assertRefused(
    _ program: [String], _ code: CInt, _ texts: String..., options: [String] = [], environment: [String: String] = [:],
    file: StaticString = #filePath, line: UInt = #line
  ) throws {
    let good = try certificate()
    let words = ["--listen", "127.0.0.1:0", "--certificate", good.certificate, "--key", good.key] + options + ["--"] + program
    let result = try run([Programs.path("starttlsd"), "--allow-root"] + words, environment: environment, expecting: .exited(code))
    let complaints = result.errors.split(separator: "\n").filter { $0.hasPrefix("starttlsd: ") }
    XCTAssertEqual(complaints.count, 1, result.errors, file: file, line: line)
    for text in texts { XCTAssertTrue(complaints.first?.contains(text) == true, "\(text): \(result.errors)", file: file, line: line) }
    XCTAssertFalse(result.errors.contains("listening on"), result.errors, file: file, line: line)
  }

  func testEximForLocalUsersIsNotServed() throws {
    let folder = TestFolder()
    let exim = try Exim(in: folder)
    let recipe = "sh -c 'exec exim4 -oMa \"$TCPREMOTEIP\" -bs'"
    try assertRefused(
      [exim.program, "-bs"], 100, "is an open relay", "RCPT TO:<postmaster@relay-probe.invalid>: 250 Accepted", recipe,
      "--trusting-backend")
    try assertRefused([exim.disguised, "-bs"], 100, "is an open relay", "TCPREMOTEIP", "--trusting-backend")
    // It was asked, and nothing was sent.
    XCTAssertEqual(folder.names(in: "spool/input"), [])
  }

  /// What the probe keeps away.
  func testEximForLocalUsersIsAnOpenRelay() throws {
    let exim = try Exim(in: TestFolder())
    let daemon = try daemon(["--trusting-backend"], backend: .program([exim.program, "-bs"]), trusting: false)
    for replies in try replies(daemon, ["a@foreign.example"]) { XCTAssertEqual(replies, ["250 Accepted"]) }
  }

  func testEximThatGetsTheAddressRelaysForNoClient() throws {
    let folder = TestFolder()
    let exim = try Exim(in: folder)
    let daemon = try daemon(
      backend: .program(["/bin/sh", "-c", "exec \(exim.program) -oMa \"$TCPREMOTEIP\" -bs"]), trusting: false)
    XCTAssertTrue(daemon.log.contains("/bin/sh refuses mail to other domains: 550 relay not permitted"), daemon.log)
    for replies in try replies(daemon, ["a@foreign.example", "postmaster@mx.example"]) {
      XCTAssertEqual(replies, ["550 relay not permitted", "250 Accepted"])
    }
  }

  func testMailfrontRelaysForNoClient() throws {
    let mailfront = try Mailfront(in: TestFolder())
    // Set by whoever started the daemon: it makes an open relay of every server of qmail's kind.
    let environment = mailfront.environment.merging(["RELAYCLIENT": ""]) { a, _ in a }
    let named = ["--backend-environment", "QMAILHOME"]
    let daemon = try daemon(named, backend: .program(mailfront.program), environment: environment, trusting: false)
    for replies in try replies(daemon, ["a@foreign.example", "a@mx.example"]) {
      XCTAssertEqual(replies.map { String($0.prefix(10)) }, ["550 5.1.0 ", "250 2.1.5 "])
    }
    try assertRefused(
      mailfront.program, 100, "is an open relay", options: named + ["--backend-environment", "RELAYCLIENT"],
      environment: environment)
  }

  /// It never relays; but that is not visible from outside.
  func testAServerThatTakesEveryRecipientNeedsItsDomains() throws {
    let folder = TestFolder()
    let program = try Programs.path("maildir-smtpd")
    try assertRefused([program, folder.path + "/Maildir"], 100, "is an open relay", "--trusting-backend")
    let daemon = try daemon(
      backend: .program([program, "--domain", "mx.example", folder.path + "/Maildir"]), trusting: false)
    for replies in try replies(daemon, ["a@foreign.example", "a@mx.example"]) {
      XCTAssertEqual(replies.map { String($0.prefix(10)) }, ["550 5.7.1 ", "250 2.1.5 "])
    }
    XCTAssertEqual(folder.names(in: "Maildir/new"), [])
  }

  /// One that takes whoever is inside TLS for authenticated.
  func testARelayInsideTLSOnlyIsNotServed() throws {
    let script = ShellBackend.script(answers: [("RCPT*", "[ -n \"$SSL_PROTOCOL\" ] && say '250 ok' || say '550 no'")])
    try assertRefused(["/bin/sh", "-c", script], 100, "is an open relay")
  }

  func testWhatDoesNotWorkIsNotServed() throws {
    try assertRefused(["/bin/false"], 111, "/bin/false does not work: it ends without a greeting (exit code 1)")
    try assertRefused(["/bin/sh", "-c", "echo 554 no"], 111, "greets with \"554 no\"")
    let script = ShellBackend.script(answers: [("MAIL*", "say '550 no'")])
    try assertRefused(["/bin/sh", "-c", script], 100, "refuses every sender (550 no)", "--trusting-backend")
  }

  /// A server that greylists is served: the test cannot show more.
  func testADeferralIsAWarning() throws {
    let script = ShellBackend.script(answers: [("RCPT*", "say '450 later'")])
    let daemon = try daemon(backend: .script(script), trusting: false)
    XCTAssertEqual(daemon.log.split(separator: "\n").filter { $0.contains(" warning ") && $0.contains("(450 later)") }.count, 1, daemon.log)
  }
}
