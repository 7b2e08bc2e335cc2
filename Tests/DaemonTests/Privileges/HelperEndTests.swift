// HelperEndTests: the processes that the daemon forks of itself may be killed at any moment, and so may the daemon.

import Foundation
import Glibc
import XCTest

final class HelperEndTests: PrivilegeTestCase {
  private let options = ["--user", "daemon", "--backend-user", "nobody", "--grace", "60"]

  /// The daemon stops, because it cannot replace the process. Mail on its way is delivered before.
  func testALostProcessStopsTheDaemonAndLosesNoMail() throws {
    for name in ["starttlsd-read", "starttlsd-start", "starttlsd-key"] {
      let daemon = try daemon(options, isShared: true)
      let client = try client(daemon)
      try SessionPhase.dataInsideTLS.enter(client)
      kill(try XCTUnwrap(daemon.helpers[name]), SIGKILL)
      XCTAssertTrue(eventually { daemon.log.contains("stopping: 1 sessions") }, daemon.log)
      XCTAssertTrue(try client.ask("ne.\r\n.").hasPrefix("250 2.0.0 Delivered as "), name)
      XCTAssertEqual(try client.ask("QUIT"), "221 2.0.0 Bye")
      client.close()
      XCTAssertEqual(daemon.program.wait(), .exited(111), daemon.log)
      XCTAssertEqual(daemon.messages.count, 1)
      XCTAssertTrue(daemon.log.contains("critical starttlsd: \(name)"), daemon.log)
      XCTAssertTrue(daemon.log.contains("has ended (signal 9): stopping"), daemon.log)
      XCTAssertEqual(daemon.log.split(separator: "\n").last?.hasSuffix("start starttlsd again"), true, daemon.log)
      XCTAssertTrue(eventually { daemon.leftovers.isEmpty }, "\(daemon.leftovers)")
    }
  }

  /// As by a service manager or a terminal, which signal all processes of a service: they end after the daemon.
  func testSignalsForAllProcessesStopTheDaemonInOrder() throws {
    let daemon = try daemon(options, isShared: true)
    let client = try client(daemon)
    try SessionPhase.dataInsideTLS.enter(client)
    for process in [daemon.process] + daemon.helpers.values { kill(process, SIGTERM) }
    XCTAssertTrue(try client.ask("ne.\r\n.").hasPrefix("250 2.0.0 Delivered as "))
    XCTAssertEqual(try client.ask("QUIT"), "221 2.0.0 Bye")
    client.close()
    XCTAssertEqual(daemon.program.wait(), .exited(0), daemon.log)
    XCTAssertEqual(daemon.messages.count, 1)
  }

  func testTheDaemonIsKilledAndLeavesNothing() throws {
    let daemon = try daemon(options, isShared: true)
    let client = try client(daemon)
    try SessionPhase.negotiatingInsideTLS.enter(client)
    XCTAssertEqual(daemon.helpers.keys.sorted(), ["starttlsd-key", "starttlsd-read", "starttlsd-start"])
    daemon.program.signal(SIGKILL)
    XCTAssertEqual(daemon.program.wait(), .killed(SIGKILL))
    XCTAssertTrue(eventually { daemon.leftovers.isEmpty }, "\(daemon.leftovers)")
    client.close()
  }

  /// A file system that hangs stops the reader only.
  func testAReaderThatDoesNotRunStopsNoSession() throws {
    let daemon = try daemon(["--user", "daemon"], backend: .script(ShellBackend.script()), isShared: true)
    let reader = try XCTUnwrap(daemon.helpers["starttlsd-read"])
    kill(reader, SIGSTOP)
    daemon.program.signal(SIGHUP)
    let client = try client(daemon)
    try client.expect("220 ")
    try client.ask("EHLO client.example")
    try client.startTLS()
    XCTAssertEqual(try client.ask("QUIT"), "221 bye")
    client.close()
    XCTAssertFalse(daemon.log.contains("SIGHUP: "), daemon.log)
    kill(reader, SIGCONT)
    XCTAssertTrue(eventually { daemon.log.contains("SIGHUP: the certificates are loaded again") }, daemon.log)
  }
}
