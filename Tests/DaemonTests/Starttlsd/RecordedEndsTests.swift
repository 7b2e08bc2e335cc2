// RecordedEndsTests: sessions with ends of each kind are recorded, and replayed with the same decisions.

import Foundation
import Glibc
import Transport
import XCTest

final class RecordedEndsTests: StarttlsdTestCase {
  /// starttlsd replaces a server where others send RSET, and keeps the contract of a session.
  private static let impossible: Set<String> = ["reset timeout", "misuse"]

  /// Of all daemons.
  private var ends: Set<String> = []
  /// Of one daemon, in the order of its sessions.
  private var expected: [String] = []

  func testEachKindOfEndIsReplayed() throws {
    try ofClients()
    try ofServers()
    try ofTimers()
    try ofTheGreetingWait()
    try ofAStalledClient()
    try ofAStop()
    XCTAssertEqual(ends, Set(SessionRecord.End.all.map(SessionLine.end)).subtracting(RecordedEndsTests.impossible))
  }

  // MARK: Each kind

  private func ofClients() throws {
    let auth = ShellBackend.script(answers: [("AUTH*", "say '334 VXNlcm5hbWU6'")])
    try recorded(["--max-penalty", "0", "--allow-cleartext-auth"], .script(auth)) { daemon in
      try session(daemon, .greeted, "quit") { try $0.ask("QUIT") }
      try session(daemon, .negotiating, "relayed") { try $0.ask("MAIL FROM:<a@b.example>") }
      try session(daemon, .secured, "quit") { try $0.ask("QUIT") }
      try session(daemon, .secured, "relayed") { try $0.ask("MAIL FROM:<a@b.example>") }
      try session(daemon, .negotiating, "client ended") { try $0.endSending() }
      try session(daemon, .negotiating, "client lost") { $0.reset() }
      for (phase, text, end) in [
        (SessionPhase.negotiating, "STARTTLS\r\nRSET\r\n", "injected plaintext"), (.handshakeAwaited, "no TLS at all\r\n", "tls failed"),
        (.greeted, "GET / HTTP/1.1\r\n", "wrong protocol"), (.negotiating, String(repeating: "nonsense\r\n", count: 12), "too many commands"),
        (.negotiating, "BDAT 100000000\r\n", "chunk too large"), (.negotiating, "BDAT many\r\n", "bad chunk"),
      ] {
        try session(daemon, phase, end) { try $0.sendRaw(Array(text.utf8)) }
      }
      try session(daemon, .negotiating, "bad response") { client in
        try client.ask("AUTH LOGIN")
        try client.sendRaw(Array("dXNl\0cg==\r\n".utf8))
      }
    }
  }

  private func ofServers() throws {
    let greeting = "case $TCPREMOTEIP/$SSL_PROTOCOL in 127.0.0.4/?*) say '554 5.3.2 no'; exit;; esac; say '220 backend ESMTP'"
    let script = ShellBackend.script(
      greeting,
      answers: [
        ("*ended", "exit"), ("*refused", "say '421 4.3.2 bye'; exit"), ("*garbage", "say 'no reply'"), ("*unasked", "say '250 done' '250 done'"),
      ])
    try recorded([], .script(script)) { daemon in
      for word in ["ended", "refused", "garbage", "unasked"] {
        try session(daemon, .negotiating, "server \(word)") { try $0.send("NOOP \(word)\r\n") }
      }
      try session(daemon, .secured, "restart failed", from: "127.0.0.4")
    }
  }

  private func ofTimers() throws {
    let silent = ShellBackend.script(answers: [("NOOP", "exec sleep 60")])
    for (option, script, phase, text, end) in [
      ("greeting", "exec sleep 60", SessionPhase.connected, "", "greeting timeout"), ("command", silent, .negotiating, "", "command timeout"),
      ("reply", silent, .negotiating, "NOOP\r\n", "reply timeout"), ("handshake", silent, .handshakeAwaited, "", "handshake timeout"),
      ("clear-phase", silent, .greeted, "", "clear phase timeout"), ("idle", silent, .negotiating, "MAIL FROM:<a@b.example>\r\n", "relay idle"),
      ("session", silent, .greeted, "", "session timeout"),
    ] {
      // Longer than what a slow test needs for its steps.
      try recorded(["--\(option)-timeout", "3", "--backend-grace", "0"], .script(script)) { daemon in
        try session(daemon, phase, end) { try $0.sendRaw(Array(text.utf8)) }
      }
    }
  }

  /// With TLS from the start: the recording has the end only.
  private func ofTheGreetingWait() throws {
    try recorded(["--listen-tls", "127.0.0.1:0", "--greeting-wait", "30"], .script(ShellBackend.script())) { daemon in
      let client = try client(host: "127.0.0.1", port: daemon.ports[1])
      try client.sendRaw(try client.beginTLS())
      try client.finishHandshake()
      try client.send("EHLO client.example\r\n")
      _ = try client.remainder()
      client.close()
      expected = ["early talker before the greeting"]
    }
  }

  /// After five minutes, with a clock at 60 times the speed.
  private func ofAStalledClient() throws {
    let library = try run(["faketime", "-f", "+0", "printenv", "LD_PRELOAD"]).output.trimmingCharacters(in: .whitespacesAndNewlines)
    let fast = ["/usr/bin/env", "FAKETIME_DISABLE_SHM=1", "LD_PRELOAD=\(library)", "FAKETIME=+0 x60", "/usr/bin/env"]
    let flood = ShellBackend.script(answers: [("MAIL*", "while :; do say '214-\(String(repeating: "x", count: 500))' || exit; done")])
    // The filter of the process of the keys does not allow what the library does.
    try recorded(["--key-in-process"], .script(flood), under: fast) { daemon in
      let client = try client(daemon, receiveBuffer: 4096)
      try SessionPhase.negotiating.enter(client)
      try client.send("MAIL FROM:<a@b.example>\r\n")
      XCTAssertTrue(eventually { daemon.sessions.count == 1 }, daemon.log)
      client.close()
      daemon.stop()
      expected = ["output stalled"]
    }
  }

  private func ofAStop() throws {
    try recorded(["--grace", "1"], .script(ShellBackend.script())) { daemon in
      let client = try client(daemon)
      try SessionPhase.negotiating.enter(client)
      daemon.program.signal(SIGTERM)
      XCTAssertTrue(try client.remainder().text.hasPrefix("421 4.3.2 "))
      client.close()
      XCTAssertEqual(daemon.program.wait(), .exited(0), daemon.log)
      expected = ["stopped"]
    }
  }

  // MARK: One session, one daemon

  /// A session of a client that waits for its end, unless it has ended the connection itself.
  private func session(
    _ daemon: RunningDaemon, _ phase: SessionPhase, _ end: String, from source: String? = nil, _ body: (SMTPClient) throws -> Void = { _ in }
  ) throws {
    expected.append(end)
    let before = daemon.sessions.count
    let client = try client(daemon, from: source)
    try phase.enter(client)
    try body(client)
    // A client that has sent MAIL ends the relay, unless its timer does.
    if end != "client lost" && end != "relayed" { _ = try client.rawRemainder() }
    client.close()
    XCTAssertTrue(eventually { daemon.sessions.count == before + 1 }, daemon.log)
  }

  /// Records the sessions of a daemon, and replays them.
  ///
  /// - Parameter act: makes the sessions, and notes in `expected` how each must end.
  private func recorded(
    _ options: [String], _ backend: RunningDaemon.Backend, under wrapper: [String] = [], _ act: (RunningDaemon) throws -> Void
  ) throws {
    let folder = TestFolder()
    chmod(folder.path, 0o700)
    let daemon = try daemon(["--record", folder.path, "--record-share", "1/1"] + options, backend: backend, under: wrapper)
    expected = []
    try act(daemon)
    func names() -> [String] { folder.names(in: "").filter { $0.hasSuffix(".rec") }.sorted() }
    XCTAssertTrue(eventually { names().filter { folder.text($0).contains(" over ") }.count == expected.count }, "\(names()) \(daemon.log)")
    var recorded: [String] = []
    for name in names() {
      let path = folder.path + "/" + name
      let replayed = try run([Programs.path("starttls-replay"), path], expecting: nil)
      XCTAssertTrue(replayed.output.contains("the same: "), replayed.output + folder.text(name))
      recorded.append(try XCTUnwrap(folder.text(name).split(separator: "\n").last?.components(separatedBy: " over ").last))
      let mode = try XCTUnwrap(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int)
      XCTAssertEqual(mode, 0o600)
    }
    XCTAssertEqual(recorded, expected, daemon.log)
    ends.formUnion(recorded)
  }
}
