// BackendLimitTests: backend processes are counted until they are reaped, and ended with everything that they started.

import Foundation
import Glibc
import XCTest

final class BackendLimitTests: StarttlsdTestCase {
  private let busy = "421 4.3.2 Too many connections, try again later\r\n"

  /// A backend that does not care about the end of its input.
  private let stubborn = ShellBackend.script("say '220 backend ESMTP'; exec sleep 1000")

  /// Connect and close, again and again: what stays is bounded, and makes room again.
  func testBackendsThatOutliveTheirSessionsAreCounted() throws {
    let daemon = try daemon(["--max-backends", "6", "--backend-grace", "600"], backend: .script(stubborn))
    var served = 0
    for _ in 0..<20 {
      let client = try client(daemon)
      let text = try client.reply()
      client.close()
      if text.hasPrefix("220 ") { served += 1 } else { XCTAssertEqual(text + "\r\n", busy) }
      XCTAssertTrue(eventually { daemon.sessions.count == served })
      XCTAssertLessThanOrEqual(daemon.backends.count, 6)
    }
    // The last place is a second process's: that of a session which comes to STARTTLS.
    XCTAssertEqual(served, 5)
    XCTAssertEqual(daemon.log.components(separatedBy: "gets 421 4.3.2").count, 2, "one warning: \(daemon.log)")
    XCTAssertTrue(daemon.log.contains("there are 5 backends, 0 more may be needed (--max-backends)"), daemon.log)
    // One less, one more.
    let oldest = try XCTUnwrap(daemon.backends.min())
    kill(oldest, SIGKILL)
    try clientWhenThereIsRoom(daemon).close()
    XCTAssertTrue(eventually { daemon.sessions.count == 6 })
    for backend in daemon.backends { kill(backend, SIGKILL) }
  }

  /// A client that got 220 gets a server inside TLS, also at the limit.
  func testASessionHasItsSecondProcessReserved() throws {
    let daemon = try daemon(["--max-backends", "4"])
    let clients = [try client(daemon), try client(daemon)]
    for client in clients { try SessionPhase.negotiating.enter(client) }
    let third = try client(daemon)
    XCTAssertEqual(try third.remainder().text, busy)
    for client in clients {
      XCTAssertEqual(try client.ask("STARTTLS"), "220 2.0.0 Ready to start TLS")
      try client.sendRaw(try client.beginTLS())
      try client.finishHandshake()
      XCTAssertEqual(try client.ask("QUIT"), "221 2.0.0 Bye")
      client.close()
    }
    for session in try daemon.sessions(2) { XCTAssertEqual(session.outcome, "handoff: quit") }
  }

  /// A session that has abandoned STARTTLS needs no second process.
  func testAnAbandonedSTARTTLSFreesThePlace() throws {
    let daemon = try daemon(["--max-backends", "3"])
    let first = try client(daemon)
    try SessionPhase.negotiating.enter(first)
    let refused = try client(daemon)
    XCTAssertEqual(try refused.remainder().text, busy)
    try first.ask("MAIL FROM:<a@client.example>")
    let second = try client(daemon)
    try second.expect("220 ")
  }

  /// SIGTERM, then SIGKILL, to everything that the program has started.
  func testAProcessGroupIsEndedAsAWhole() throws {
    let scripts = [
      // The program ends of SIGTERM, what it started does not.
      "(trap '' TERM; exec sleep 1000) & say '220 backend ESMTP'; while :; do sleep 1000; done",
      // Neither does.
      "trap '' TERM; sleep 1000 & say '220 backend ESMTP'; while :; do sleep 1000; done",
    ]
    for script in scripts {
      let daemon = try daemon(["--backend-grace", "0"], backend: .script(ShellBackend.script(script)))
      let client = try client(daemon)
      try client.expect("220 ")
      client.close()
      _ = try daemon.session()
      XCTAssertTrue(eventually { daemon.leftovers.isEmpty }, "\(script): \(daemon.leftovers)")
    }
  }

  /// A program that ends by itself has a right to what it leaves, a delivery for example.
  func testWhatAProgramLeavesAfterIsLeftAlone() throws {
    let script = "(read gate <\"$FOLDER/gate\"; echo done >\"$FOLDER/done\") >/dev/null 2>&1 <&- & say '220 backend ESMTP'"
    let daemon = try daemon(backend: .script("mkfifo $FOLDER/gate\n" + ShellBackend.script(script)))
    let client = try client(daemon)
    try client.expect("220 ")
    XCTAssertEqual(try client.ask("QUIT"), "221 bye")
    client.close()
    _ = try daemon.session()
    XCTAssertTrue(eventually { daemon.leftovers.count == 1 }, "\(daemon.leftovers)")
    daemon.stop(leaving: 1)
    let gate = open(daemon.folder.path + "/gate", O_WRONLY | O_NONBLOCK | O_CLOEXEC)
    XCTAssertEqual(write(gate, "go\n", 3), 3)
    close(gate)
    XCTAssertTrue(eventually { daemon.folder.text("done") == "done\n" })
    XCTAssertTrue(eventually { daemon.leftovers.isEmpty })
  }

  /// The limits of descriptors that the daemon found, not those that it has raised for itself.
  func testBackendsGetTheOriginalLimitOfDescriptors() throws {
    for connections in [500, 2_000] {
      let daemon = try daemon(
        ["--max-connections", "\(connections)"], backend: .script(ShellBackend.script("say \"220 $(ulimit -Sn) $(ulimit -Hn)\"")),
        under: ["/bin/sh", "-c", "ulimit -Sn 256; ulimit -Hn 4096; exec \"$@\"", "sh"])
      XCTAssertGreaterThan(try XCTUnwrap(daemon.descriptorLimit), 2000)
      for _ in 0..<2 {
        let client = try client(daemon)
        XCTAssertEqual(try client.reply(), "220 256 4096")
        client.close()
      }
      _ = try daemon.sessions(2)
      XCTAssertGreaterThan(try XCTUnwrap(daemon.descriptorLimit), 2000)
    }
  }
}
