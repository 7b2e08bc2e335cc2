// LogFormatTests: the formats of the log, the session's identifier, and what no log may contain.

import Foundation
import Glibc
import XCTest

final class LogFormatTests: StarttlsdTestCase {
  /// A server with AUTH.
  private let authenticating = ShellBackend.script(answers: [
    ("EHLO*", "say '250-backend' '250 AUTH PLAIN LOGIN'"), ("'AUTH LOGIN'*", "say '334 VXNlcm5hbWU6'; read -r line; say '334 UGFzc3dvcmQ6'; read -r line; say '235 2.7.0 done'"),
    ("'AUTH PLAIN '*", "say '235 2.7.0 done'"),
  ])

  /// The warning of keywords that the server must refuse in clear is one line, however many sessions have them.
  func testTheWarningOfKeywordsIsLoggedOnce() throws {
    let daemon = try daemon(backend: .script(authenticating))
    for _ in 0..<3 {
      let client = try client(daemon)
      try SessionPhase.negotiating.enter(client)
      try client.ask("QUIT")
      client.close()
    }
    XCTAssertTrue(eventually { daemon.log.components(separatedBy: " session peer=").count == 4 }, daemon.log)
    XCTAssertEqual(daemon.log.components(separatedBy: "the backend lists AUTH, STARTTLS").count, 2, daemon.log)
  }

  /// The names in each JSON line, read by Python: all of them, then those of lines about sessions.
  private func names(_ log: String) throws -> (all: [[String]], sessions: [[String]]) {
    let reader = """
      import json, sys
      for line in sys.stdin:
          value = json.loads(line)
          print(*value, sep=' ')
      """
    let output = try run(["/usr/bin/python3", "-ISc", reader], input: log).output
    let all = output.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
    return (all, all.filter { $0.contains("peer") })
  }

  /// A session that ends inside TLS, one that relays in clear, one that fails in the handshake, and one whose
  /// EHLO has no name.
  private func sessions(_ daemon: RunningDaemon) throws {
    var ended = 0
    /// Each session ends before the next one, whose line may come first otherwise.
    func assertEnded() {
      ended += 1
      XCTAssertTrue(eventually { Self.sessionLines(daemon) == ended }, daemon.log)
    }
    for (phase, command) in [(SessionPhase.secured, "QUIT"), (.negotiating, "MAIL FROM:<a@b>"), (.greeted, "QUIT")] {
      let client = try client(daemon)
      try phase.enter(client)
      try client.ask(command)
      // Without close_notify the line would have one field more, unless a reset came first.
      if phase == .secured {
        _ = try client.remainder()
        try client.endSending()
      }
      client.close()
      assertEnded()
    }
    let refused = try client(daemon)
    try SessionPhase.handshakeAwaited.enter(refused)
    try refused.sendRaw(Array("no TLS at all\r\n".utf8))
    _ = try refused.rawRemainder()
    refused.close()
    assertEnded()
    let nameless = try client(daemon)
    try nameless.expect("220 ")
    try nameless.ask("EHLO a\"b\\c=d\u{e9}")
    try nameless.ask("QUIT")
    nameless.close()
  }

  /// How many lines about sessions the log has, in either format.
  private static func sessionLines(_ daemon: RunningDaemon) -> Int {
    daemon.log.split(separator: "\n").count { $0.contains(" session peer=") || $0.contains("\"message\":\"session\"") }
  }

  func testJSONHasTheFieldsOfLogfmt() throws {
    let plain = try daemon()
    try sessions(plain)
    let lines = try plain.sessions(5).map(\.description)
    let json = try daemon(["--log-format", "json"])
    try sessions(json)
    XCTAssertTrue(eventually { Self.sessionLines(json) == 5 }, json.log)
    let found = try names(json.log)
    for line in found.all { XCTAssertEqual(Array(line.prefix(4)), ["time", "level", "program", "message"]) }
    let expected = lines.map { line -> [String] in
      // A blank inside quotation marks ends no field.
      let outside = line.components(separatedBy: "\"").enumerated().filter { $0.offset % 2 == 0 }.map(\.element).joined()
      return outside.split(separator: " ").compactMap { word in
        word.firstIndex(of: "=").map { String(word[..<$0]) }
      }
    }
    // A reset hides that a client ended without close_notify.
    func stable(_ names: [String]) -> [String] { names.filter { $0 != "truncated" } }
    XCTAssertEqual(found.sessions.map { stable(Array($0.dropFirst(4))) }, expected.map(stable))
    XCTAssertEqual(Set(stable(expected.flatMap { $0 })).count, 20, "each field is in some line: \(expected)")
    // What is no name may be anything.
    XCTAssertTrue(lines[4].contains("helo=\"\""), lines[4])
    XCTAssertTrue(json.log.contains("\"helo\":\"\""), json.log)
  }

  /// AUTH in every form, and a message, in clear and inside TLS.
  func testNoFormatHasASecret() throws {
    let secrets = ["AHVzZXIAaHVudGVyMg==", "aHVudGVyMg==", "hunter2", "confidential", "a@private.example"]
    for format in ["logfmt", "json"] {
      let daemon = try daemon(
        ["--log-format", format, "--allow-cleartext-auth"], backend: .script(authenticating))
      for isSecured in [false, true] {
        for mechanism in ["PLAIN", "LOGIN"] {
          let client = try client(daemon)
          try (isSecured ? SessionPhase.secured : .greeted).enter(client)
          try client.ask("EHLO client.example")
          if mechanism == "PLAIN" {
            XCTAssertTrue(try client.ask("AUTH PLAIN \(secrets[0])").hasPrefix("235 "))
          } else {
            XCTAssertTrue(try client.ask("AUTH LOGIN").hasPrefix("334 "))
            XCTAssertTrue(try client.ask("dXNlcg==").hasPrefix("334 "))
            XCTAssertTrue(try client.ask(secrets[1]).hasPrefix("235 "))
          }
          try client.ask("MAIL FROM:<\(secrets[4])>")
          try client.ask("RCPT TO:<\(secrets[4])>")
          try client.ask("DATA")
          try client.ask("Subject: \(secrets[3])\r\n\r\n\(secrets[2])\r\n.")
          try client.ask("QUIT")
          client.close()
        }
      }
      // Lines that are no commands at all, and an AUTH that is refused.
      let junk = try client(daemon)
      try SessionPhase.secured.enter(junk)
      try junk.ask("AUTH \(secrets[0])")
      try junk.ask(secrets[2])
      junk.close()
      XCTAssertTrue(eventually { daemon.log.components(separatedBy: "decision").count == 6 }, daemon.log)
      for secret in secrets { XCTAssertFalse(daemon.log.contains(secret), "\(format), \(secret): \(daemon.log)") }
    }
  }

  /// The identifier is in the log, in both environments and in the header, and sorts by time.
  func testTheSessionsIdentifier() throws {
    let environment = "say \"220 ${SSL_PROTOCOL:-clear} $STARTTLSD_SESSION\""
    let observed = try daemon(backend: .script(ShellBackend.script(environment, answers: [("NOOP*", environment)])))
    var seen: [String] = []
    for _ in 0..<3 {
      let client = try client(observed)
      let first = try client.reply().split(separator: " ")
      try client.ask("EHLO client.example")
      try client.startTLS()
      let second = try client.ask("NOOP").split(separator: " ")
      XCTAssertEqual(first[1], "clear")
      XCTAssertEqual(second[1], "TLSv1.3")
      XCTAssertEqual(first[2], second[2], "one session, one name")
      seen.append(String(first[2]))
      try client.ask("QUIT")
      client.close()
    }
    XCTAssertEqual(try observed.sessions(3).map { $0["id"] }, seen)
    XCTAssertEqual(seen, seen.sorted())
    XCTAssertEqual(Set(seen).count, 3)
    for name in seen { XCTAssertNotNil(name.range(of: "^[0-9a-hjkmnp-tv-z]{11}$", options: .regularExpression), name) }

    let storing = try daemon()
    let client = try client(storing)
    try SessionPhase.dataInsideTLS.enter(client)
    XCTAssertTrue(try client.ask("ne.\r\n.").hasPrefix("250 "))
    try client.ask("QUIT")
    client.close()
    let name = try XCTUnwrap(try storing.session()["id"])
    XCTAssertTrue(storing.messages[0].received.contains(" id \(name)/"), storing.messages[0].received)
    XCTAssertTrue(storing.log.contains(", session \(name), from <a@client.example>\n"), "the server's own line: \(storing.log)")
  }

  /// Number and name of the alert that ended a handshake, and who sent it.
  func testAlerts() throws {
    let folder = TestFolder()
    let other = try makeCertificate("other", in: folder)
    let daemon = try daemon()
    for (options, number, name, sender) in [
      (["-tls1_2", "-verify_return_error", "-CAfile", other.certificate], "48", "unknown_ca", "client"),
      (["-alpn", "http/1.1"], "120", "no_application_protocol", "server"),
    ] {
      let before = daemon.sessions.count
      try run(
        ["openssl", "s_client", "-starttls", "smtp", "-connect", "127.0.0.1:\(daemon.port)"] + options, expecting: nil)
      XCTAssertTrue(eventually { daemon.sessions.count > before }, daemon.log)
      let session = try XCTUnwrap(daemon.sessions.last)
      XCTAssertEqual(session["alert"], number, daemon.log)
      XCTAssertEqual(session["alert-name"], name, daemon.log)
      XCTAssertEqual(session["alert-from"], sender, daemon.log)
      XCTAssertNotNil(session["failure"])
    }
  }
}
