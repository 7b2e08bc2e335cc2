// SignalTests: what each signal does to the daemon, and what its backends find.

import Foundation
import Glibc
import XCTest

final class SignalTests: StarttlsdTestCase {
  func testSignalsThatChangeNothing() throws {
    let daemon = try daemon()
    let client = try client(daemon)
    try SessionPhase.dataInsideTLS.enter(client)
    for number in [SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGXFSZ, SIGTTOU, SIGHUP] {
      daemon.program.signal(number)
    }
    // The last one is seen in the log, the others were delivered before it.
    XCTAssertTrue(eventually { daemon.log.contains("SIGHUP: ") || !daemon.program.isRunning }, daemon.log)
    XCTAssertTrue(daemon.program.isRunning, daemon.log)
    XCTAssertTrue(try client.ask("ne.\r\n.").hasPrefix("250 2.0.0 Delivered as "))
    XCTAssertEqual(try client.ask("QUIT"), "221 2.0.0 Bye")
    client.close()
    XCTAssertEqual(try daemon.session().outcome, "handoff: relayed")
  }

  /// Only a supervisor can hand over to another program.
  func testATakeOverWithoutASupervisorIsAWarning() throws {
    let daemon = try daemon()
    daemon.program.signal(SIGUSR2)
    let line = "warning starttlsd: SIGUSR2: one process serves, and no program can take over from it: restart starttlsd, with --workers 2 or more for the next time\n"
    XCTAssertTrue(eventually { daemon.log.contains(line) || !daemon.program.isRunning }, daemon.log)
    XCTAssertTrue(daemon.program.isRunning, daemon.log)
    let client = try client(daemon)
    try SessionPhase.negotiatingInsideTLS.enter(client)
    XCTAssertEqual(try client.ask("QUIT"), "221 2.0.0 Bye")
  }

  /// Backends have all signals as they are by default, in clear and inside TLS, and a session of their own.
  func testBackendsFindNoSignalBlockedOrIgnored() throws {
    let opening = """
      set -- $(sed -n 's/^Sig\\(Blk\\|Ign\\|Cgt\\):[[:space:]]*//p' /proc/self/status)
      say "220 $1 $2 $(cut -d' ' -f6 /proc/$$/stat)=$$"
      """
    let answers = [("STATE", "say \"250 $1 $2\"")]
    let daemon = try daemon(backend: .script(ShellBackend.script(opening, answers: answers)))
    let client = try client(daemon)
    // 32 and 33 belong to the C library of the test, which ignores them in every child.
    let signals = "0000000000000000 0000000000000000"
    func isDefault(_ text: String) -> Bool { text.replacingOccurrences(of: "0000000180000000", with: "0000000000000000").contains(signals) }
    let greeting = try client.reply()
    XCTAssertTrue(isDefault(greeting), greeting)
    let numbers = try XCTUnwrap(greeting.split(separator: " ").last).split(separator: "=")
    XCTAssertEqual(numbers[0], numbers[1], "it leads no session: \(greeting)")
    try client.ask("EHLO client.example")
    try client.startTLS()
    let inside = try client.ask("STATE")
    XCTAssertTrue(isDefault(inside), inside)
  }
}
