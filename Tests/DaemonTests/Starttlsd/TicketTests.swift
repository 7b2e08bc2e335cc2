// TicketTests: sessions are resumed only if the operator wants it, with a key that may be shared and is replaced.

import Foundation
import Glibc
import XCTest

final class TicketTests: StarttlsdTestCase {
  private let folder = TestFolder()
  private var ticket: String { folder.path + "/session" }

  private func key(_ name: String = "key") throws -> String {
    let path = folder.path + "/" + name
    try run(["openssl", "rand", "-out", path, "64"])
    chmod(path, 0o600)
    return path
  }

  /// Has a session, and keeps its ticket.
  private func begin(_ daemon: RunningDaemon, _ version: String) throws {
    unlink(ticket)
    _ = try shown(by: daemon, [version, "-sess_out", ticket, "-servername", "mx.example"])
  }

  /// True if the server resumes the session of the ticket.
  private func isResumed(_ daemon: RunningDaemon, _ version: String) throws -> Bool {
    let shown = try shown(
      by: daemon, [version, "-sess_in", ticket, "-servername", "mx.example"])
    XCTAssertTrue(shown.contains("Reused, ") != shown.contains("New, "), shown)
    return shown.contains("Reused, ")
  }

  func testThereAreNoTicketsByDefault() throws {
    let daemon = try daemon(backend: .script(ShellBackend.script(answers: [("quit*", "say '221 bye'; exit")])))
    for version in ["-tls1_2", "-tls1_3"] {
      let shown = try shown(by: daemon, [version])
      XCTAssertFalse(shown.contains("session ticket"), shown)
    }
  }

  func testASessionIsResumedUntilTheKeyIsReplaced() throws {
    let path = try key()
    for options in [[], ["--ticket-key-file", path]] {
      let daemon = try daemon(["--session-tickets"] + options, backend: .script(ShellBackend.script(
        "[ -z \"$SSL_PROTOCOL\" ] || echo \"$SSL_SESSION_RESUMED\" >>\"$FOLDER/facts\"; say '220 backend ESMTP'",
        answers: [("quit*", "say '221 bye'; exit")])))
      for version in ["-tls1_2", "-tls1_3"] {
        try begin(daemon, version)
        XCTAssertTrue(try isResumed(daemon, version), version)
      }
      XCTAssertEqual(daemon.folder.text("facts"), "Initial\nResumed\nInitial\nResumed\n")
      XCTAssertEqual(try daemon.sessions(4).map { $0["resumed"] }, [nil, "yes", nil, "yes"])
      for version in ["-tls1_2", "-tls1_3"] {
        try begin(daemon, version)
        let before = daemon.log.components(separatedBy: "are loaded again").count
        if options.isEmpty {
          daemon.program.signal(SIGHUP)
        } else {
          XCTAssertEqual(rename(try key("new"), path), 0)
        }
        XCTAssertTrue(eventually { daemon.log.components(separatedBy: "are loaded again").count > before }, daemon.log)
        XCTAssertFalse(try isResumed(daemon, version), version)
      }
    }
  }

  /// Each week, with a clock at 200,000 times the speed. TicketKeyTests has what becomes of the tickets.
  func testTheKeyIsReplacedEachWeek() throws {
    let library = try run(["faketime", "-f", "+0", "printenv", "LD_PRELOAD"]).output.trimmingCharacters(in: .whitespacesAndNewlines)
    let fast = ["/usr/bin/env", "FAKETIME_DISABLE_SHM=1", "LD_PRELOAD=\(library)", "FAKETIME=+0 x200000", "/usr/bin/env"]
    let own = try makeCertificate("own", in: folder, ["-days", "3650"])
    let replaced = "the key of the session tickets is replaced, as each week"
    // The filter of the process of the keys does not allow what the library does.
    let daemon = try daemon(["--key-in-process", "--session-tickets"], backend: .script(ShellBackend.script()), certificate: own, under: fast)
    XCTAssertTrue(eventually { daemon.log.contains(replaced) }, daemon.log)
    daemon.stop()
  }

  /// Two machines with one key, and one with another.
  func testAKeyOfSeveralMachines() throws {
    let (shared, other) = (try key(), try key("other"))
    let first = try daemon(["--session-tickets", "--ticket-key-file", shared])
    let second = try daemon(["--session-tickets", "--ticket-key-file", shared])
    let third = try daemon(["--session-tickets", "--ticket-key-file", other])
    for version in ["-tls1_2", "-tls1_3"] {
      try begin(first, version)
      XCTAssertTrue(try isResumed(second, version), version)
      try begin(first, version)
      XCTAssertFalse(try isResumed(third, version), version)
    }
  }

  /// With TLS 1.2 a ticket counts for its name only (RFC 6066, 3). With TLS 1.3 the client decides (RFC 8446, 4.2.11); the
  /// name that is reported is the one of the new session.
  func testATicketForAnotherName() throws {
    let daemon = try daemon(["--session-tickets"])
    for (version, expected) in [("-tls1_2", "New, "), ("-tls1_3", "Reused, ")] {
      try begin(daemon, version)
      let shown = try shown(by: daemon, [version, "-sess_in", ticket, "-servername", "other.example"])
      XCTAssertTrue(shown.contains(expected), shown)
    }
    XCTAssertEqual(try daemon.sessions(4).map { $0["sni"] }, ["mx.example", "other.example", "mx.example", "other.example"])
  }

  func testATicketExpires() throws {
    let daemon = try daemon(["--session-tickets", "--ticket-lifetime", "1"])
    for version in ["-tls1_2", "-tls1_3"] {
      try begin(daemon, version)
      // The lifetime is the event.
      sleep(3)
      XCTAssertFalse(try isResumed(daemon, version), version)
    }
  }

  func testKeysThatAreRefused() throws {
    let own = try certificate()
    let good = try key()
    let short = try folder.write(Array(repeating: 1, count: 63), to: "short")
    let open = try key("open")
    chmod(short, 0o600)
    chmod(open, 0o604)
    for (options, text) in [
      (["--ticket-key-file", good], "needs --session-tickets"), (["--session-tickets", "--ticket-key-file", "/nowhere"], "/nowhere: open:"),
      (["--session-tickets", "--ticket-key-file", short], "\(short): not a key for session tickets: 63 octets, 64 are needed"),
      (["--session-tickets", "--ticket-key-file", open], "\(open): not a key for session tickets: every user may read it: chmod 600"),
      (["--session-tickets", "--ticket-lifetime", "0"], "give a number of seconds from 1 to 604800"),
    ] {
      let result = try run(
        [Programs.path("starttlsd"), "--allow-root", "--certificate", own.certificate, "--key", own.key] + options + ["--", "/bin/cat"],
        expecting: .exited(100))
      XCTAssertTrue(result.errors.contains(text), "\(text): \(result.errors)")
    }
  }
}
