// RelayProbeTests: programs under probe, from their start to their end. None is left.

import Foundation
import Glibc
import RelayProbe
import TransportKit
import XCTest

final class RelayProbeTests: XCTestCase {
  /// A server that refuses all recipients, with commands before its greeting.
  private func strict(_ opening: String = "say '220 strict'") -> String {
    ShellBackend.script(opening, answers: [("RCPT*", "say '550 no'")])
  }

  private func probe(_ scripts: [String], _ environment: [String] = [], limits: RelayProbe.Limits = .init()) throws -> [RelayFinding] {
    let programs = scripts.map {
      RelayProbe.Program(arguments: ["/bin/sh", "-c", $0], environment: ["PATH=\(SpawnedProgram.path)"] + environment)
    }
    DispatchDescriptors.areOpen
    let before = (ProcessTable.children(of: getpid()), ProcessTable.descriptors(of: getpid()).count)
    let findings = try RelayProbe.run(programs, isLMTP: false, limits: limits)
    XCTAssertEqual(ProcessTable.children(of: getpid()), before.0)
    XCTAssertEqual(ProcessTable.descriptors(of: getpid()).count, before.1)
    return findings
  }

  func testManyAtATimeInTheirOrder() throws {
    XCTAssertEqual(
      try probe([strict(), ShellBackend.script(), "exit 3", "kill -9 $$", strict("say '220-strict' '220 all the same'")]),
      [
        .refuses(reply: "550 no"), .accepts(command: "RCPT TO:<postmaster@relay-probe.invalid>", reply: "250 done"),
        .broken("ends without a greeting (exit code 3)"), .broken("ends without a greeting (signal 9)"), .refuses(reply: "550 no"),
      ])
  }

  /// Ignored by whoever started this process: the kernel would reap the programs.
  func testSIGCHLDIgnored() throws {
    signal(SIGCHLD, SIG_IGN)
    XCTAssertEqual(try probe(["exit 3", strict()]), [.broken("ends without a greeting (exit code 3)"), .refuses(reply: "550 no")])
  }

  func testAProgramThatIsNotThere() throws {
    let program = RelayProbe.Program(arguments: ["/nonexistent/smtpd"], environment: [])
    XCTAssertEqual(
      try RelayProbe.run([program], isLMTP: false), [.broken("cannot be started: execve: No such file or directory")])
  }

  /// Its client is at no address of anybody's network, and its environment is what a session has.
  func testWhatTheProgramGets() throws {
    let printing = "say \"220 $PROTO $TCPREMOTEIP $TCPREMOTEPORT $TCPLOCALIP $TCPLOCALPORT\"; exit"
    let judge = "[ \"$TCPREMOTEIP\" = 192.0.2.1 ] && say '220 strict' || say '220 strict' '250 ok'"
    XCTAssertEqual(try probe([strict(judge)], RelayProbe.connection()), [.refuses(reply: "550 no")])
    XCTAssertEqual(
      try probe([ShellBackend.script(printing)], RelayProbe.connection(localPort: 587)),
      [.broken("ends without an answer to EHLO [192.0.2.1]")])
    XCTAssertEqual(
      RelayProbe.connection(localPort: 587),
      ["PROTO=TCP", "TCPREMOTEIP=192.0.2.1", "TCPREMOTEPORT=49152", "TCPLOCALIP=192.0.2.2", "TCPLOCALPORT=587"])
  }

  /// A greeting of two replies would shift all replies by one, and the refusal of RCPT onto another command.
  func testAReplyTooMany() throws {
    // cat sends both in one write.
    XCTAssertEqual(
      try probe(["cat <<END\n220 a\n250 b\nEND\ncat >/dev/null", "printf '220-%05000d' 0; cat >/dev/null"]),
      [.broken("sends more than it was asked for"), .broken("sends more than it was asked for")])
  }

  /// One that sends nothing and ignores the end of its input and SIGTERM.
  func testAProgramThatDoesNotEnd() throws {
    XCTAssertEqual(
      try probe(["trap '' TERM; while :; do sleep 0.05; done"], limits: .init(repliesMilliseconds: 100, endMilliseconds: 100)),
      [.broken("sends no greeting in time")])
  }

  /// What it answers is shown as a log can bear it, and no longer than a line.
  func testRepliesAreEscaped() throws {
    XCTAssertEqual(try probe(["printf '554 \\033[2J\\r\\n'"]), [.broken("greets with \"554 \\x1B[2J\"")])
    XCTAssertEqual(try probe(["printf '554 %0300d\\r\\n' 0"]), [.broken("greets with \"554 \(String(repeating: "0", count: 196))\"")])
  }
}
