// LackTests: for a time the kernel has no memory, or no room for what a process waits for.

import Glibc
import XCTest

final class LackTests: PrivilegeTestCase {
  private func scripted(_ options: String...) throws -> RunningDaemon { try daemon(options, backend: .script(ShellBackend.script())) }

  /// Has each of these calls of the process fail.
  private func inject(_ fault: String, into process: pid_t, trace: String = "/dev/null") throws -> SpawnedProgram {
    let call = fault.prefix { $0 != ":" }
    let tracer = try SpawnedProgram(["strace", "-qq", "-o", trace, "-p", "\(process)", "-e", "trace=\(call)", "-e", "inject=\(fault)"])
    let isTraced = eventually { ProcessTable.tracer(of: process) == tracer.process || !tracer.isRunning }
    try XCTSkipUnless(isTraced && tracer.isRunning, "strace does not work here")
    return tracer
  }

  private func end(_ tracer: borrowing SpawnedProgram, of process: pid_t) {
    tracer.kill()
    XCTAssertTrue(eventually { ProcessTable.tracer(of: process) == 0 })
  }

  /// It tries again from time to time, not as often as it can.
  func testAStartThatCannotBeRequestedWaits() throws {
    let daemon = try scripted()
    let trace = daemon.folder.path + "/trace"
    let process = daemon.program.process
    let tracer = try inject("sendmsg:error=ENOBUFS", into: process, trace: trace)
    func attempts() -> Int { daemon.folder.text("trace").components(separatedBy: "INJECTED").count - 1 }
    let waiting = try client(daemon)
    XCTAssertTrue(eventually { attempts() > 3 })
    let (before, start) = (attempts(), ContinuousClock.now)
    usleep(500_000)
    let count = attempts() - before
    XCTAssertLessThan(Double(count), (ContinuousClock.now - start) / .milliseconds(10) + 10)
    end(tracer, of: process)
    try waiting.expect("220 ")
    waiting.close()
  }

  /// The end of a program is reported when there is memory again.
  func testTheStarterOutlivesALackOfMemory() throws {
    let daemon = try scripted()
    let starter = try XCTUnwrap(daemon.helpers["starttlsd-start"])
    let tracer = try inject("sendmsg:error=ENOMEM:when=1..3", into: starter)
    try assertServes(daemon)
    try assertServes(daemon)
    end(tracer, of: starter)
    XCTAssertTrue(eventually { daemon.leftovers.isEmpty }, "\(daemon.leftovers)")
    XCTAssertFalse(daemon.log.contains("stopping"), daemon.log)
  }

  /// The user has as many descriptors to wait for as may be (max_user_watches, epoll(7)).
  func testAClientThatCannotBeWaitedForGetsAReply() throws {
    let daemon = try scripted()
    let process = daemon.program.process
    let tracer = try inject("epoll_ctl:error=ENOSPC", into: process)
    let refused = try client(daemon)
    XCTAssertEqual(try refused.reply(), "421 4.3.2 Mail server not available, closing connection")
    let session = try daemon.session()
    XCTAssertEqual(session["failure"], "epoll_ctl: No space left on device")
    end(tracer, of: process)
    refused.close()
    try assertServes(daemon)
  }

  /// The same before the wait for the greeting.
  func testAClientThatCannotWaitForItsGreetingGetsAReply() throws {
    let daemon = try scripted("--greeting-wait", "1")
    let process = daemon.program.process
    let tracer = try inject("epoll_ctl:error=ENOSPC", into: process)
    let refused = try client(daemon)
    XCTAssertEqual(try refused.reply(), "421 4.3.2 Too many connections, try again later")
    end(tracer, of: process)
    refused.close()
    XCTAssertTrue(daemon.log.contains("no session can be started: epoll_ctl: No space left on device"), daemon.log)
    try assertServes(daemon)
  }
}
