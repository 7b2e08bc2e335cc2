// AccessTests: access rules, as a cdb file of the real tcprules and as text: who is denied, and what the program gets.

import Foundation
import Glibc
import XCTest

final class AccessTests: StarttlsdTestCase {
  private let denied = "554 5.7.1 Access denied\r\n"
  private let text = """
    127.0.0.2:deny
    127.0.0.3:allow,RELAYCLIENT="",WHO="third",PATH=%/ours:/bin:/usr/bin%
    127.:allow,WHO="local"

    """
  /// Says what it got in its greeting and in the reply to NOOP.
  private let backend = ShellBackend.script(
    "say \"220 ${RELAYCLIENT-unset} ${WHO-unset} $TCPREMOTEIP\"",
    answers: [
      ("NOOP*", "say \"250 ${RELAYCLIENT-unset} ${WHO-unset} $(tr '\\000' '\\n' </proc/$$/environ | grep -c ^PATH=)\""),
      ("HELP*", "say \"250 $(tr '\\000' '\\n' </proc/$$/environ | sed 's/=.*//' | sort | tr '\\n' ' ')\""),
    ])

  private func compile(_ text: String, to path: String) throws {
    try run(["tcprules", path, path + ".tmp"], input: text)
  }

  private func assertRules(_ daemon: RunningDaemon) throws {
    let denied = try client(daemon, from: "127.0.0.2")
    XCTAssertEqual(try denied.remainder().text, self.denied)
    denied.close()
    XCTAssertTrue(daemon.log.contains("gets 554 5.7.1: its access rule is deny (--access)"), daemon.log)
    let local = try client(daemon)
    XCTAssertEqual(try local.reply(), "220 unset local 127.0.0.1")
    local.close()
    // In clear and inside TLS.
    let relaying = try client(daemon, from: "127.0.0.3")
    XCTAssertEqual(try relaying.reply(), "220  third 127.0.0.3")
    try relaying.ask("EHLO client.example")
    try relaying.startTLS()
    XCTAssertEqual(try relaying.ask("NOOP"), "250  third 1")
    relaying.close()
  }

  func testRulesOfTheRealTcprules() throws {
    let folder = TestFolder()
    let path = folder.path + "/rules.cdb"
    try compile(text, to: path)
    let daemon = try daemon(["--access", path], backend: .script(backend))
    try assertRules(daemon)
  }

  func testTheSameRulesAsText() throws {
    let folder = TestFolder()
    let path = try folder.write(Array(text.utf8), to: "rules")
    let daemon = try daemon(["--access", path], backend: .script(backend))
    try assertRules(daemon)
  }

  /// For a client without a rule, and without rules, the program's environment is the same.
  func testWithoutARuleTheEnvironmentStaysAsItIs() throws {
    func names(_ options: [String]) throws -> String {
      let daemon = try daemon(options, backend: .script(backend))
      let client = try client(daemon)
      try client.expect("220 ")
      try client.ask("EHLO client.example")
      try client.startTLS()
      return try client.ask("HELP")
    }
    let folder = TestFolder()
    let path = try folder.write(Array("127.0.0.9:allow,WHO=\"x\"\n".utf8), to: "rules")
    XCTAssertEqual(try names([]), try names(["--access", path]))
  }

  /// The process that starts the programs takes every value of a rule, such as one that begins with a combining mark, and only
  /// values that a rule had at the start: with another QMAILQUEUE or PATH the program would start other programs.
  func testTheStarterTakesTheValuesOfTheRulesAtTheStart() throws {
    let folder = TestFolder()
    let path = try folder.write(Array("127.0.0.3:allow,WHO=\"\u{301}x\"\n".utf8), to: "rules")
    let daemon = try daemon(["--access", path, "--backend-memory", "512"], backend: .script(backend))
    for _ in 0..<2 {
      let client = try client(daemon, from: "127.0.0.3")
      XCTAssertEqual(try client.reply(), "220 unset \u{301}x 127.0.0.3")
      client.close()
    }
    try folder.write(Array("127.0.0.3:deny\n127.0.0.4:allow,WHO=\"y\"\n".utf8), to: "rules")
    daemon.program.signal(SIGHUP)
    XCTAssertTrue(eventually { daemon.log.contains("sets WHO to a value that no rule set at the start") }, daemon.log)
    let client = try client(daemon, from: "127.0.0.3")
    XCTAssertEqual(try client.reply(), "220 unset \u{301}x 127.0.0.3", "the rules stay as they were")
    client.close()
  }

  /// An IPv4 client of a dual-stack socket has the rule of its IPv4 address.
  func testAMappedAddressHasTheRuleOfItsIPv4Address() throws {
    let folder = TestFolder()
    let path = try folder.write(Array("127.0.0.0/30:allow,WHO=\"four\"\n::1:allow,WHO=\"six\"\n:deny\n".utf8), to: "rules")
    let daemon = try daemon(["--access", path], backend: .script(backend), listen: ["[::]:0"])
    XCTAssertEqual(try client(daemon).reply(), "220 unset four 127.0.0.1")
    XCTAssertEqual(try client(host: "::1", port: daemon.port).reply(), "220 unset six ::1")
    XCTAssertEqual(try client(daemon, from: "127.0.0.4").remainder().text, denied)
  }

  // MARK: Reload

  func testSIGHUPReadsTheRulesAgainAndABrokenFileChangesNothing() throws {
    let folder = TestFolder()
    let path = folder.path + "/rules"
    func write(_ text: String) throws { try folder.write(Array(text.utf8), to: "rules") }
    func reload(_ daemon: RunningDaemon, _ expected: String) {
      func lines() -> [Substring] { daemon.log.split(separator: "\n").filter { $0.contains("SIGHUP: ") && $0.contains("access rules") } }
      let before = lines().count
      daemon.program.signal(SIGHUP)
      XCTAssertTrue(eventually { lines().count == before + 1 }, daemon.log)
      XCTAssertTrue(lines().last?.contains(expected) == true, daemon.log)
    }
    func greeting(_ daemon: RunningDaemon) throws -> String {
      let client = try client(daemon)
      defer { client.close() }
      return try client.reply()
    }
    try write(":allow,WHO=\"first\"\n")
    let daemon = try daemon(["--access", path], backend: .script(backend))
    let session = try client(daemon)
    try session.expect("220 unset first")
    try write(":allow,WHO=\"second\"\n")
    XCTAssertEqual(try greeting(daemon), "220 unset first 127.0.0.1")
    reload(daemon, "SIGHUP: 1 access rules are loaded from \(path)")
    XCTAssertEqual(try greeting(daemon), "220 unset second 127.0.0.1")
    // The session keeps the rule that it started with.
    try session.ask("EHLO client.example")
    try session.startTLS()
    XCTAssertEqual(try session.ask("NOOP"), "250 unset first 1")

    for (text, expected) in [
      (":allow\n127.0.0.1:alow\n", "the access rules stay as they were: \(path), line 2: expected an address"),
      (":allow,SSL_CIPHER=\"x\"\n", "\(path), line 1: SSL_CIPHER cannot be set, because it describes TLS"),
      ("\0\0", "\(path) is a damaged cdb file: the header is not complete"),
    ] {
      try write(text)
      reload(daemon, expected)
      XCTAssertEqual(try greeting(daemon), "220 unset second 127.0.0.1")
    }
    try FileManager.default.removeItem(atPath: path)
    reload(daemon, "\(path): open: No such file or directory")
    XCTAssertEqual(try greeting(daemon), "220 unset second 127.0.0.1")
    // From text to cdb.
    try compile("127.0.0.1:deny\n", to: path)
    reload(daemon, "1 access rules are loaded")
    XCTAssertEqual(try greeting(daemon), "554 5.7.1 Access denied")
    try write(":allow,RELAYCLIENT=\"\"\n=.example.com:deny\n")
    reload(daemon, "2 access rules are loaded")
    XCTAssertTrue(daemon.log.contains("sets RELAYCLIENT: they may relay"), daemon.log)
    XCTAssertTrue(daemon.log.contains("1 rules match no client, the first one: '=.example.com'"), daemon.log)
  }

  // MARK: Start

  private func start(_ rules: String, _ options: [String] = ["--trusting-backend"], backend: [String] = ["/bin/cat"]) throws -> Result {
    let good = try certificate()
    let folder = TestFolder()
    let path = try folder.write(Array(rules.utf8), to: "rules")
    return try run(
      [Programs.path("starttlsd"), "--allow-root", "--listen", "127.0.0.1:0", "--certificate", good.certificate, "--key", good.key,
        "--access", path] + options + ["--"] + backend, expecting: .exited(100))
  }

  func testWithABrokenFileTheDaemonDoesNotStart() throws {
    for (rules, expected) in [
      ("\n\n127.0.0.1\n", ", line 3: expected an address, ':', and 'allow' or 'deny'\n"),
      ("\0", " is a damaged cdb file: the header is not complete\n"),
    ] {
      let result = try start(rules)
      XCTAssertTrue(result.errors.hasPrefix("starttlsd: --access /"), result.errors)
      XCTAssertTrue(result.errors.hasSuffix(expected), result.errors)
    }
  }

  /// The variables of a rule are sent with those of the session in one message of a limited size. A rule that does not fit is an
  /// error when it is loaded, as text and as cdb; one that just fits works with the longest server name.
  func testTooManyVariablesOfARuleAreRefused() throws {
    func long(_ sum: Int) -> String { "# a comment\n127.:allow,WHO=\"w\",WHO=\"\(String(repeating: "x", count: sum - 5))\"\n" }
    XCTAssertTrue(try start(long(3073)).errors.contains(", line 2: the variables of the rule have more than 3072 octets"))
    let folder = TestFolder()
    try compile(long(3073), to: folder.path + "/rules.cdb")
    let result = try start("", ["--trusting-backend", "--access", folder.path + "/rules.cdb"])
    XCTAssertTrue(result.errors.contains("the rule of '127.': the variables of the rule have more than 3072 octets"), result.errors)
    let path = try folder.write(Array(long(3072).utf8), to: "rules")
    let length = ShellBackend.script("say \"220 ${#WHO}\"", answers: [("NOOP*", "say \"250 ${#WHO} ${#SSL_TLS_SNI_SERVERNAME}\"")])
    let daemon = try daemon(["--access", path, "--backend-memory", "512"], backend: .script(length))
    let client = try client(daemon)
    XCTAssertEqual(try client.reply(), "220 3067")
    try client.ask("EHLO client.example")
    let name = Array(repeating: String(repeating: "a", count: 62), count: 4).joined(separator: ".")
    try client.startTLS(serverName: name)
    XCTAssertEqual(try client.ask("NOOP"), "250 3067 \(name.count)")
    client.close()
    try folder.write(Array(long(3073).utf8), to: "rules")
    daemon.program.signal(SIGHUP)
    XCTAssertTrue(eventually { daemon.log.contains("SIGHUP: the access rules stay as they were: \(path), line 2: ") }, daemon.log)
  }

  /// Each of these names would be a claim about TLS or the connection; TCPLOCALHOST is the operator's choice.
  func testNamesOfASessionCannotBeSet() throws {
    for name in [
      "SSL_PROTOCOL", "SSL_CIPHER", "TLS_UID", "CERTFILE", "KEYFILE:mx", "CAFILE", "UCSPITLS", "SSLCTLFD", "PROTO", "TCPREMOTEIP",
      "TCPREMOTEHOST", "TCPREMOTEINFO", "TCPLOCALIP", "TCPLOCALPORT",
    ] {
      let result = try start("127.:allow,\(name)=\"x\"\n")
      XCTAssertTrue(result.errors.contains(", line 1: \(name) cannot be set"), result.errors)
    }
    let folder = TestFolder()
    let path = try folder.write(Array(":allow,TCPLOCALHOST=\"mx.example\",WHO=\"named\"\n".utf8), to: "rules")
    let daemon = try daemon(["--access", path], backend: .script(backend))
    XCTAssertEqual(try client(daemon).reply(), "220 unset named 127.0.0.1")
  }

  /// A rule that lets every client relay makes the program an open relay, which is tested before the daemon listens.
  func testARuleThatMakesAnOpenRelayIsFound() throws {
    let folder = TestFolder()
    let script = "#!/bin/sh\n" + ShellBackend.script(answers: [("RCPT*", "if [ \"${RELAYCLIENT+set}\" ]; then say 250; else say '553 no'; fi")])
    let path = try folder.write(Array(script.utf8), to: "backend")
    chmod(path, 0o755)
    let result = try start(":allow,RELAYCLIENT=\"\"\n", [], backend: [path])
    XCTAssertTrue(result.errors.contains("accepts"), result.errors)
    let rules = try folder.write(Array("127.0.0.1:allow,RELAYCLIENT=\"\"\n:allow\n".utf8), to: "rules")
    let daemon = try daemon(["--access", rules], backend: .program([path]), trusting: false)
    let client = try client(daemon)
    try client.expect("220 ")
    try client.ask("EHLO client.example")
    try client.ask("MAIL FROM:<a@client.example>")
    XCTAssertEqual(try client.ask("RCPT TO:<b@other.example>"), "250")
  }
}
