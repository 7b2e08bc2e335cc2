// SpareEndTests: no client gets a spare process that has ended, that has said something else, that is old, or whose program has
// changed; and none is left.

import Foundation
import Glibc
import XCTest

final class SpareEndTests: SpareTestCase {
  private let second = "421 timeout, closing"

  /// A client that has connected while the daemon does not run, before something happened: the daemon learns of both at once, of the
  /// client first.
  private func clientConnected(to daemon: RunningDaemon, before body: () throws -> Void) throws -> SMTPClient {
    daemon.program.signal(SIGSTOP)
    XCTAssertTrue(eventually { ProcessTable.status(of: daemon.process)["State"]?.hasPrefix("T") == true })
    defer { daemon.program.signal(SIGCONT) }
    let client = try client(daemon)
    try body()
    return client
  }

  func testOneThatHasEndedIsGivenToNoClient() throws {
    let daemon = try spareDaemon(1)
    try waitFor(ready: 1, daemon)
    let dead = started(daemon)[0]
    let client = try clientConnected(to: daemon) {
      kill(dead, SIGKILL)
      XCTAssertTrue(hasEnded(dead))
    }
    XCTAssertNotEqual(try greeted(client), dead)
    XCTAssertEqual(try client.ask("QUIT"), "221 bye")
    client.close()
    XCTAssertTrue(eventually { daemon.log.contains("the program ends while it waits for a client: " + SpareTestCase.isGivenUp) }, daemon.log)
    // It is no session's.
    XCTAssertFalse(daemon.log.contains("was ended by signal"), daemon.log)
    daemon.stop()
  }

  /// A server sends 421 after its own timeout.
  func testOneThatHasSentMoreIsGivenToNoClient() throws {
    let gate = try Gate(in: TestFolder())
    let opening = "if mkdir \"$FOLDER/first\" 2>/dev/null; then say \"220 $$ ESMTP\"; \(gate.pass); say '\(second)'; : >\"$FOLDER/said\"; exec sleep 1000; fi"
    let daemon = try spareDaemon(1, [], SpareTestCase.script(opening))
    try waitFor(ready: 1, daemon)
    let bad = started(daemon)[0]
    let client = try clientConnected(to: daemon) {
      gate.open()
      XCTAssertTrue(eventually { FileManager.default.fileExists(atPath: daemon.folder.path + "/said") })
    }
    XCTAssertNotEqual(try greeted(client), bad)
    XCTAssertEqual(try client.ask("QUIT"), "221 bye")
    client.close()
    XCTAssertTrue(eventually { daemon.log.contains("the program sends something after its greeting: " + SpareTestCase.isGivenUp) }, daemon.log)
    XCTAssertTrue(hasEnded(bad))
    daemon.stop()
  }

  func testWhatIsNoGreetingIsGivenToNoClient() throws {
    let daemon = try spareDaemon(1, [], SpareTestCase.script("if [ -s \"$FOLDER/bad\" ]; then printf \"$(cat \"$FOLDER/bad\")\"; exec sleep 1000; fi"))
    for (octets, why) in [
      ("220 x\\r\\n\(second)\\r\\n", "sends something after its greeting"),
      ("\(second)\\r\\n", "sends 421 in place of a greeting"),
      ("220-x\\r\\n554 x\\r\\n", "sends 554 in place of a greeting"),
      ("220 x\\n", "ends a line of its greeting without CR"),
      ("hello\\r\\n", "greets with something that is no reply of SMTP"),
      ("2200\\r\\n", "greets with something that is no reply of SMTP"),
    ] {
      try waitFor(ready: 1, daemon)
      let line = "the program \(why): " + SpareTestCase.isGivenUp
      let count = daemon.log.components(separatedBy: line).count
      try daemon.folder.write(Array(octets.utf8), to: "bad")
      // All are started again, without a pause.
      daemon.program.signal(SIGHUP)
      XCTAssertTrue(eventually { daemon.log.components(separatedBy: line).count > count }, "\(octets): \(daemon.log)")
      try daemon.folder.write([], to: "bad")
      daemon.program.signal(SIGHUP)
    }
    XCTAssertEqual(try spares().taken, 0)
    daemon.stop()
  }

  /// A greeting of several lines, whose pieces come one after the other, is good once it is complete.
  func testAGreetingInPieces() throws {
    let gate = try Gate(in: TestFolder())
    let daemon = try spareDaemon(1, [], SpareTestCase.script(greeting: "printf '220-'; \(gate.pass); printf 'x\\r\\n22'; \(gate.pass); printf '0 y\\r\\n'"))
    for _ in 1...2 {
      XCTAssertEqual(try spares().ready, 0)
      gate.open()
    }
    try waitFor(ready: 1, daemon)
    let client = try client(daemon)
    XCTAssertEqual(try client.reply(), "220-x|220 y")
    XCTAssertEqual(try client.ask("QUIT"), "221 bye")
    client.close()
    daemon.stop()
  }

  /// A program that ends at once: the pauses grow, and the log has one line.
  func testAProgramThatEndsAtOnceIsStartedWithPauses() throws {
    let begin = Date()
    let daemon = try spareDaemon(3, [], SpareTestCase.script("exit 3"))
    XCTAssertTrue(eventually { started(daemon).count >= 2 })
    // 1 s before the second start, 2 s before the third: at least.
    let count = started(daemon).count
    XCTAssertGreaterThanOrEqual(Date().timeIntervalSince(begin), Double(1 << (count - 1)) - 1)
    XCTAssertTrue(eventually { ((try? spares().givenUp) ?? 0) >= 2 })
    XCTAssertEqual(daemon.log.components(separatedBy: SpareTestCase.isGivenUp).count, 2, daemon.log)
    XCTAssertFalse(daemon.log.contains("exited with code"), daemon.log)
    daemon.stop()
  }

  func testAProgramThatDoesNotGreetInTimeIsEnded() throws {
    let daemon = try spareDaemon(1, ["--greeting-timeout", "1", "--backend-grace", "60"], SpareTestCase.script("exec sleep 1000"))
    XCTAssertTrue(eventually { daemon.log.contains("the program sends no greeting in time: " + SpareTestCase.isGivenUp) }, daemon.log)
    XCTAssertTrue(hasEnded(started(daemon)[0]))
    daemon.stop()
  }

  /// SIGHUP: the program may read its configuration at its start.
  func testAReloadReplacesThem() throws {
    let daemon = try spareDaemon(1)
    try waitFor(ready: 1, daemon)
    let old = started(daemon)[0]
    daemon.program.signal(SIGHUP)
    XCTAssertTrue(eventually { started(daemon).count == 2 })
    try waitFor(ready: 1, daemon)
    XCTAssertTrue(hasEnded(old))
    let client = try client(daemon)
    XCTAssertEqual(try greeted(client), started(daemon)[1])
    client.close()
    daemon.stop()
  }

  func testANewFileOfTheProgramReplacesThem() throws {
    let daemon = try spareDaemon(1)
    try waitFor(ready: 1, daemon)
    let draft = daemon.folder.path + "/draft"
    try Data(("#!/bin/sh\n" + SpareTestCase.script(greeting: "say '220 new ESMTP'")).utf8).write(to: URL(fileURLWithPath: draft))
    chmod(draft, 0o755)
    XCTAssertEqual(rename(draft, daemon.folder.path + "/backend"), 0)
    XCTAssertTrue(eventually { daemon.log.contains("the file of the program has changed: the spare processes are replaced\n") }, daemon.log)
    let client = try client(daemon)
    XCTAssertEqual(try client.reply(), "220 new ESMTP")
    client.close()
    try waitFor(ready: 1, daemon)
    XCTAssertTrue(hasEnded(started(daemon)[0]))
    XCTAssertEqual(try spares().givenUp, 1)
    daemon.stop()
  }

  /// A minute of a clock at 20 times the speed.
  func testAnOldOneIsReplaced() throws {
    let library = try run(["faketime", "-f", "+0", "printenv", "LD_PRELOAD"]).output.trimmingCharacters(in: .whitespacesAndNewlines)
    let fast = ["/usr/bin/env", "FAKETIME_DISABLE_SHM=1", "LD_PRELOAD=\(library)", "FAKETIME=+0 x20", "/usr/bin/env"]
    // The filter of the process of the keys does not allow what the library does.
    let daemon = try spareDaemon(1, ["--key-in-process", "--greeting-timeout", "100000"], under: fast)
    XCTAssertTrue(eventually { started(daemon).count >= 2 }, daemon.log)
    XCTAssertTrue(hasEnded(started(daemon)[0]))
    XCTAssertFalse(daemon.log.contains(SpareTestCase.isGivenUp), daemon.log)
    daemon.stop()
  }

  /// Both sessions have their processes, and a third client gets 421: a spare process takes no session's place.
  func testTheyCountInTheLimitOfProcesses() throws {
    let daemon = try spareDaemon(2, ["--max-backends", "4"])
    try waitFor(ready: 2, daemon)
    let clients = [try client(daemon), try client(daemon)]
    for client in clients { _ = try greeted(client) }
    XCTAssertEqual(try spares(), Spares(ready: 0, wanted: 2, taken: 2, givenUp: 0))
    let third = try client(daemon)
    XCTAssertEqual(try third.remainder().text, "421 4.3.2 Too many connections, try again later\r\n")
    third.close()
    for client in clients {
      try client.ask("EHLO client.example")
      try client.startTLS()
      XCTAssertEqual(try client.ask("QUIT"), "221 bye")
      client.close()
    }
    XCTAssertLessThanOrEqual(daemon.backends.count, 4)
    XCTAssertTrue(eventually { daemon.sessions.count == 2 })
    XCTAssertEqual(daemon.sessions.map(\.outcome), ["handoff: quit", "handoff: quit"])
    try waitFor(ready: 2, daemon)
    daemon.stop()
  }

  /// A stop, also while one is at its start and does not read its input.
  func testNothingIsLeftAtTheEnd() throws {
    let gate = try Gate(in: TestFolder())
    let daemon = try spareDaemon(3, [], SpareTestCase.script("trap '' TERM; mkdir \"$FOLDER/first\" 2>/dev/null || { \(gate.pass); }"))
    XCTAssertTrue(gate.isReached())
    try waitFor(ready: 1, daemon)
    daemon.stop()
  }

  /// The processes of the program end when the daemon or the process that started them is killed.
  func testNothingIsLeftAfterAKill() throws {
    for name in [nil, "starttlsd-start"] {
      let daemon = try spareDaemon(2)
      try waitFor(ready: 2, daemon)
      kill(try name.map { try XCTUnwrap(daemon.helpers[$0]) } ?? daemon.process, SIGKILL)
      XCTAssertEqual(daemon.program.wait(), name == nil ? .killed(SIGKILL) : .exited(111), daemon.log)
      XCTAssertTrue(eventually { daemon.leftovers.isEmpty }, "\(daemon.leftovers)")
    }
  }
}
