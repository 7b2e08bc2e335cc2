// SpareBackendTests: with --spare-backends a client is greeted by a process that was started before it came.

import Foundation
import Glibc
import XCTest

final class SpareBackendTests: SpareTestCase {
  /// The program greets when the test lets it: no client waits for that.
  func testAClientIsGreetedWhileNoOtherProcessCanGreet() throws {
    let gate = try Gate(in: TestFolder())
    let daemon = try spareDaemon(1, [], SpareTestCase.script(gate.pass))
    for number in 1...2 {
      // One waits for its greeting; the gate lets it pass.
      XCTAssertTrue(eventually { started(daemon).count == number })
      gate.open()
      try waitFor(ready: 1, daemon)
      let client = try client(daemon)
      XCTAssertEqual(try greeted(client), started(daemon)[number - 1])
      XCTAssertEqual(try client.ask("NOOP"), "250 \(started(daemon)[number - 1])")
      XCTAssertEqual(try client.ask("QUIT"), "221 bye")
      client.close()
    }
    XCTAssertTrue(eventually { daemon.sessions.count == 2 })
    XCTAssertEqual(daemon.sessions.map { $0["spare"] }, started(daemon).prefix(2).map { "\($0)" })
    daemon.stop()
  }

  /// In clear and inside TLS each: two processes, and neither knows anything of the client.
  func testASessionWithSTARTTLSTakesTwo() throws {
    let gate = try Gate(in: TestFolder())
    let daemon = try spareDaemon(2, [], SpareTestCase.script(gate.pass))
    for number in 1...2 {
      XCTAssertTrue(eventually { started(daemon).count == number })
      gate.open()
    }
    try waitFor(ready: 2, daemon)
    let processes = started(daemon)
    let client = try client(daemon)
    XCTAssertEqual(try greeted(client), processes[0])
    try client.ask("EHLO client.example")
    try client.startTLS()
    XCTAssertEqual(try client.ask("EHLO client.example"), "250-backend|250 SIZE 1000")
    XCTAssertEqual(try client.ask("NOOP"), "250 \(processes[1])")
    for command in ["MAIL FROM:<a@client.example>", "RCPT TO:<b@mx.example>"] { XCTAssertEqual(try client.ask(command), "250 done") }
    try client.ask("DATA")
    XCTAssertEqual(try client.ask("Hello.\r\n."), "250 stored")
    XCTAssertEqual(try client.ask("QUIT"), "221 bye")
    client.close()
    XCTAssertTrue(eventually { daemon.sessions.count == 1 })
    XCTAssertEqual(daemon.sessions[0].outcome, "handoff: relayed")
    XCTAssertEqual(daemon.sessions[0]["spare"], "\(processes[0]),\(processes[1])")
    for start in starts(daemon) { XCTAssertEqual(Array(start.dropFirst()), ["none", "none", "none", "none", "TCP"]) }
    daemon.stop()
  }

  /// A start for a session gives the program the same as a spare one has.
  func testWithoutASpareProcessASessionStartsTheProgram() throws {
    let gate = try Gate(in: TestFolder())
    // The first one never greets.
    let daemon = try spareDaemon(1, [], SpareTestCase.script("mkdir \"$FOLDER/first\" 2>/dev/null && { \(gate.pass); }"))
    XCTAssertTrue(gate.isReached())
    let client = try client(daemon)
    let process = try greeted(client)
    XCTAssertEqual(started(daemon).last, process)
    try client.ask("EHLO client.example")
    try client.startTLS()
    XCTAssertEqual(try client.ask("QUIT"), "221 bye")
    client.close()
    XCTAssertTrue(eventually { daemon.sessions.count == 1 })
    XCTAssertNil(daemon.sessions[0]["spare"])
    XCTAssertEqual(starts(daemon).count, 3)
    for start in starts(daemon) { XCTAssertEqual(Array(start.dropFirst()), ["none", "none", "none", "none", "TCP"]) }
    XCTAssertEqual(try spares(), Spares(ready: 0, wanted: 1, taken: 0, givenUp: 0))
    daemon.stop()
  }

  /// TLS from the start: the program is needed inside TLS only.
  func testASessionThatBeginsWithTLSTakesOne() throws {
    let daemon = try spareDaemon(1, ["--listen-tls", "127.0.0.1:0"])
    try waitFor(ready: 1, daemon)
    let first = started(daemon)[0]
    let result = try run(
      ["openssl", "s_client", "-quiet", "-crlf", "-connect", "127.0.0.1:\(daemon.ports[1])"], input: "QUIT\n", inputEnds: false, expecting: nil)
    XCTAssertTrue(result.output.contains("220 \(first) ESMTP"), result.output + result.errors)
    daemon.stop()
  }

  /// With --learn-greeting: the process is taken at the decision, and compared with what was learnt.
  func testWithALearntGreetingASessionTakesOneWhenItNeedsIt() throws {
    let daemon = try spareDaemon(1, ["--learn-greeting"], SpareTestCase.script(greeting: "say '220 backend ESMTP'"))
    try waitFor(ready: 1, daemon)
    let first = try client(daemon)
    try first.expect("220 backend")
    XCTAssertEqual(try first.ask("QUIT"), "221 bye")
    first.close()
    XCTAssertTrue(eventually { daemon.log.contains("the program's greeting is learnt") }, daemon.log)
    try waitFor(ready: 1, taken: 1, daemon)
    for isInTLS in [false, true] {
      XCTAssertTrue(eventually { daemon.backends.count == 1 })
      let process = try XCTUnwrap(daemon.backends.first)
      let before = try spares().taken
      let client = try client(daemon)
      try client.expect("220 backend")
      try client.ask("EHLO client.example")
      XCTAssertEqual(try spares().taken, before)
      if isInTLS { try client.startTLS() }
      XCTAssertEqual(try client.ask("NOOP"), "250 \(process)")
      XCTAssertEqual(try client.ask("QUIT"), "221 bye")
      client.close()
      try waitFor(ready: 1, taken: before + 1, daemon)
    }
    for start in starts(daemon) { XCTAssertEqual(Array(start.dropFirst()), ["none", "none", "none", "none", "TCP"]) }
    XCTAssertFalse(daemon.log.contains("has not sent a client"), daemon.log)
    daemon.stop()
  }

  func testStatusAndMetrics() throws {
    let folder = TestFolder()
    let daemon = try spareDaemon(2, ["--metrics", "unix:\(folder.path)/metrics"])
    try waitFor(ready: 2, daemon)
    let client = try client(daemon)
    _ = try greeted(client)
    XCTAssertEqual(try client.ask("QUIT"), "221 bye")
    client.close()
    try waitFor(ready: 2, taken: 1, daemon)
    XCTAssertEqual(try spares(), Spares(ready: 2, wanted: 2, taken: 1, givenUp: 0))
    let metrics = try run(["curl", "-sS", "--max-time", "10", "--unix-socket", "\(folder.path)/metrics", "http://localhost/metrics"]).output
    for line in ["starttlsd_spare_backends 2", "starttlsd_spare_backends_wanted 2", "starttlsd_spare_backends_taken_total 1"] {
      XCTAssertTrue(metrics.contains("\n\(line)\n"), "\(line): \(metrics)")
    }
    daemon.stop()
  }
}
