// SilentStarterTests: the process that starts the server program does not run, as in execve(2) of a file system that is gone.

import Foundation
import Glibc
import XCTest

final class SilentStarterTests: StarttlsdTestCase {
  /// A clock at 20 times the speed: the end takes some seconds of it.
  private func fastDaemon(_ options: [String]) throws -> RunningDaemon {
    let library = try run(["faketime", "-f", "+0", "printenv", "LD_PRELOAD"]).output.trimmingCharacters(in: .whitespacesAndNewlines)
    let fast = ["/usr/bin/env", "FAKETIME_DISABLE_SHM=1", "LD_PRELOAD=\(library)", "FAKETIME=+0 x20", "/usr/bin/env"]
    // The filter of the process of the keys does not allow what the library does.
    return try daemon(["--key-in-process"] + options, backend: .script(ShellBackend.script()), under: fast)
  }

  private func stop(_ process: pid_t) {
    kill(process, SIGSTOP)
    XCTAssertTrue(eventually { ProcessTable.status(of: process)["State"]?.hasPrefix("T") == true })
  }

  /// One session has its program, the other one waits for it.
  func testTheDaemonEndsWithoutTheReportsOfItsStarter() throws {
    let daemon = try fastDaemon(["--grace", "0"])
    let first = try client(daemon)
    try first.expect("220 ")
    let starter = try XCTUnwrap(daemon.helpers["starttlsd-start"])
    stop(starter)
    defer { kill(starter, SIGCONT) }
    let second = try client(daemon)
    daemon.program.signal(SIGTERM)
    XCTAssertEqual(daemon.program.wait(), .exited(0), daemon.log)
    XCTAssertTrue(daemon.log.contains("has not reported the ends of 2 programs after SIGKILL"), daemon.log)
    first.close()
    second.close()
    // It obeys the messages that wait, and ends.
    kill(starter, SIGCONT)
    XCTAssertTrue(eventually { kill(starter, 0) != 0 || ProcessTable.commandLine(of: starter).isEmpty })
    XCTAssertTrue(eventually { daemon.leftovers.isEmpty }, "\(daemon.leftovers)")
  }

  /// A signal is sent to it once: it is slow, and loses none.
  func testSIGKILLIsSentToTheStarterOnce() throws {
    let daemon = try fastDaemon(["--grace", "0", "--backend-grace", "0"])
    let client = try client(daemon)
    try client.expect("220 ")
    let starter = try XCTUnwrap(daemon.helpers["starttlsd-start"])
    stop(starter)
    defer { kill(starter, SIGCONT) }
    let trace = daemon.folder.path + "/trace"
    let tracer = try SpawnedProgram(
      ["strace", "-xx", "-e", "trace=sendmsg", "-o", trace, "-p", "\(daemon.process)"], errors: .file(daemon.folder.path + "/tracer"))
    XCTAssertTrue(eventually { daemon.folder.text("tracer").contains("attached") }, daemon.folder.text("tracer"))
    func signals(_ signal: CInt) -> Int {
      daemon.folder.text("trace").components(separatedBy: String(format: "\\x%02x\\x00\\x00\\x00\\x00\\x00\\x00\\x00\"", signal)).count - 1
    }
    client.close()
    XCTAssertTrue(eventually { signals(SIGKILL) > 0 }, daemon.folder.text("trace"))
    // Until its end SIGKILL would come three times more.
    daemon.program.signal(SIGTERM)
    XCTAssertEqual(daemon.program.wait(), .exited(0), daemon.log)
    _ = tracer.wait()
    XCTAssertEqual([signals(SIGTERM), signals(SIGKILL)], [1, 1], daemon.folder.text("trace"))
    kill(starter, SIGCONT)
    XCTAssertTrue(eventually { daemon.leftovers.isEmpty }, "\(daemon.leftovers)")
  }
}
