// ChainOpenRelayTests: starttls-proxy in front of real servers: none of them relays for a stranger, or it is not executed.

import XCTest

final class ChainOpenRelayTests: ProxyTestCase {
  private func environment(_ more: [String: String] = [:]) throws -> [String: String] {
    try credentials().merging(["TCPREMOTEIP": "198.51.100.7"]) { a, _ in a }.merging(more) { _, b in b }
  }

  /// What a stranger's recipients are answered, in clear and inside TLS.
  private func replies(
    _ program: [String], _ options: [String] = [], _ more: [String: String] = [:], _ recipients: [String]
  ) throws -> [[String]] {
    try [false, true].map { isInsideTLS in
      let connection = try chained(options, program: program, environment: try environment(more))
      let replies = try connection.client.repliesToRecipients(recipients, isInsideTLS: isInsideTLS)
      assertNothingIsLeft()
      return replies
    }
  }

  func testEximForLocalUsersIsNotExecuted() throws {
    let exim = try Exim(in: folder)
    for program in [[exim.program, "-bs"], ["/bin/sh", "-c", "exec \(exim.program) -bs"], ["/usr/bin/env", exim.program, "-bs"]] {
      let connection = try chained(program: program, environment: try environment())
      XCTAssertEqual(try connection.client.remainder().text, "")
      connection.client.close()
      XCTAssertEqual(connection.process.wait(), .exited(100))
      let lines = connection.process.errors.split(separator: "\n")
      XCTAssertEqual(lines.count, 1, connection.process.errors)
      XCTAssertTrue(lines.first?.hasPrefix("starttls-proxy: \(program[0]) would be an open relay: ") == true, connection.process.errors)
      XCTAssertTrue(lines.first?.contains("sh -c 'exec exim4 -oMa \"$TCPREMOTEIP\" -bs'") == true, connection.process.errors)
      assertNothingIsLeft()
    }
    XCTAssertFalse(folder.names(in: "spool").contains("mainlog"), "it was executed")
  }

  /// What the name keeps away.
  func testEximForLocalUsersIsAnOpenRelay() throws {
    let exim = try Exim(in: folder)
    for replies in try replies([exim.program, "-bs"], ["--trusting-backend"], [:], ["a@foreign.example"]) {
      XCTAssertEqual(replies, ["250 Accepted"])
    }
  }

  func testEximThatGetsTheAddressRelaysForNoClient() throws {
    let exim = try Exim(in: folder)
    let program = ["/bin/sh", "-c", "exec \(exim.program) -oMa \"$TCPREMOTEIP\" -bs"]
    for replies in try replies(program, [], [:], ["a@foreign.example", "postmaster@mx.example"]) {
      XCTAssertEqual(replies, ["550 relay not permitted", "250 Accepted"])
    }
  }

  func testMailfrontRelaysForNoClient() throws {
    let mailfront = try Mailfront(in: folder)
    for replies in try replies(mailfront.program, [], mailfront.environment, ["a@foreign.example", "a@mx.example"]) {
      XCTAssertEqual(replies.map { String($0.prefix(10)) }, ["550 5.1.0 ", "250 2.1.5 "])
    }
  }

  // MARK: --check

  private func check(_ program: [String], _ options: [String] = [], environment: [String: String] = [:]) throws
    -> (end: SpawnedProgram.End?, output: String, errors: String)
  {
    let name = "check.\(folder.names(in: "").count)"
    let process = try SpawnedProgram(
      [try Programs.path("starttls-proxy"), "--check"] + options + program, environment: environment,
      output: .file("\(folder.path)/\(name).output"), errors: .file("\(folder.path)/\(name).errors"))
    return (process.wait(), folder.text("\(name).output"), folder.text("\(name).errors"))
  }

  func testCheckFindsAnOpenRelay() throws {
    let exim = try Exim(in: folder)
    // By its answer, whatever it is called; the connection that the check itself may run in does not matter.
    let found = try check([exim.disguised, "-bs"], environment: ["TCPREMOTEIP": "127.0.0.1", "PROTO": "TCP"])
    XCTAssertEqual(found.end, .exited(100))
    XCTAssertEqual(found.output, "")
    XCTAssertTrue(found.errors.hasPrefix("starttls-proxy: \(exim.disguised) is an open relay"), found.errors)
    XCTAssertEqual(try check([exim.program, "-bs"]).end, .exited(100))
    let mailfront = try Mailfront(in: folder)
    let relay = mailfront.environment.merging(["RELAYCLIENT": ""]) { a, _ in a }
    XCTAssertTrue(try check(mailfront.program, environment: relay).errors.contains(" is an open relay"))
  }

  func testCheckPassesWhatRelaysForNobody() throws {
    let exim = try Exim(in: folder)
    let given = try check(["/bin/sh", "-c", "exec \(exim.program) -oMa \"$TCPREMOTEIP\" -bs"])
    XCTAssertEqual(given.end, .exited(0))
    XCTAssertEqual(given.output, "/bin/sh refuses mail to other domains: 550 relay not permitted\n")
    XCTAssertEqual(given.errors, "")
    let mailfront = try Mailfront(in: folder)
    XCTAssertEqual(try check(mailfront.program, environment: mailfront.environment).end, .exited(0))
  }

  func testCheckOfOtherPrograms() throws {
    let lmtp = ShellBackend.script(answers: [("LHLO*", "say '250 b'"), ("EHLO*", "say '500 no'"), ("RCPT*", "say '550 no'")])
    XCTAssertEqual(try check(["/bin/sh", "-c", lmtp], ["--protocol", "lmtp"]).end, .exited(0))
    XCTAssertEqual(try check(["/bin/sh", "-c", ShellBackend.script(answers: [("RCPT*", "say '450 no'")])]).end, .exited(0))
    XCTAssertEqual(try check(["/bin/sh", "-c", ShellBackend.script(answers: [("MAIL*", "say '550 no'")])]).end, .exited(100))
    XCTAssertEqual(try check(["/bin/false"]).end, .exited(111))
    XCTAssertEqual(try check(["/nonexistent/smtpd"]).end, .exited(111))
  }
}
