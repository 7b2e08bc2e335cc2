// WorkerServiceTests: a supervisor with workers under a service manager.

import CKernel
import Foundation
import Glibc
import XCTest

final class WorkerServiceTests: WorkersTestCase {
  /// READY once, when all serve, and again after a reload of all, and after a take-over; STOPPING at the end.
  func testReadyReloadTakeOverAndStop() throws {
    let folder = TestFolder()
    let socket = try NotifySocket(folder.path + "/notify")
    let workers = try workers(2, environment: ["NOTIFY_SOCKET": folder.path + "/notify"])
    let ready = "READY=1\nSTATUS=Listening on 1 sockets with 2 workers"
    XCTAssertEqual(try socket.message(), ready)
    XCTAssertEqual(workers.log.components(separatedBy: "listening on ").count, 3, "not ready yet: \(workers.log)")
    workers.program.signal(SIGHUP)
    XCTAssertTrue(try socket.message().hasPrefix("RELOADING=1\nMONOTONIC_USEC="))
    XCTAssertEqual(try socket.message(), ready)
    XCTAssertEqual(workers.log.components(separatedBy: "SIGHUP: the certificates are loaded again").count, 3, workers.log)
    workers.program.signal(SIGUSR2)
    XCTAssertEqual(try socket.message(), ready)
    workers.waits(for: " has taken over: ")
    workers.program.signal(SIGTERM)
    XCTAssertTrue(try socket.message().hasPrefix("STOPPING=1\nSTATUS=Stopping: "))
    XCTAssertEqual(workers.program.wait(), .exited(0), workers.log)
    XCTAssertFalse(socket.hasMessage)
  }

  /// A worker whose loop hangs is killed and replaced; the service manager still gets the sign of the supervisor.
  func testAWorkerThatHangsIsKilled() throws {
    let folder = TestFolder()
    let socket = try NotifySocket(folder.path + "/notify")
    let workers = try workers(2, environment: ["NOTIFY_SOCKET": folder.path + "/notify", "WATCHDOG_USEC": "3000000"])
    let second = try XCTUnwrap(workers.workers[2])
    kill(second, SIGSTOP)
    workers.waits(for: "worker 2, process \(second), does not respond: it is killed\n")
    workers.waits(for: "worker 2, process \(second), was ended by signal 9: it is started again now\n")
    XCTAssertTrue(eventually { workers.log.components(separatedBy: "listening on ").count >= 4 }, workers.log)
    XCTAssertTrue(try socket.message().hasPrefix("READY=1\n"))
    XCTAssertEqual(try socket.message(), "WATCHDOG=1")
  }

  /// A reload that takes longer than the watchdog's time: the signs of the workers are unread then, and none is killed.
  func testASlowReloadKillsNoWorker() throws {
    let folder = TestFolder()
    let socket = try NotifySocket(folder.path + "/notify")
    let workers = try workers(2, environment: ["NOTIFY_SOCKET": folder.path + "/notify", "WATCHDOG_USEC": "4000000"])
    XCTAssertTrue(try socket.message().hasPrefix("READY=1\n"))
    let before = workers.workers
    // The first signal that it sends to a worker takes a while.
    let tracer = try SpawnedProgram([
      "strace", "-qq", "-o", "/dev/null", "-p", "\(workers.program.process)", "-e", "inject=kill:delay_enter=4500000:when=1",
    ])
    defer { tracer.kill() }
    let isTraced = eventually { ProcessTable.status(of: workers.program.process)["TracerPid"] != "0" || !tracer.isRunning }
    try XCTSkipUnless(isTraced && tracer.isRunning, "strace does not work here")
    workers.program.signal(SIGHUP)
    XCTAssertTrue(eventually { workers.log.components(separatedBy: "SIGHUP: the certificates are loaded again").count == 3 }, workers.log)
    while !(try socket.message().hasPrefix("READY=1\n")) {}
    XCTAssertEqual(workers.workers, before, workers.log)
    XCTAssertFalse(workers.log.contains("it is killed"), workers.log)
  }

  /// The sockets that a service manager passes: non-blocking ones only, since several processes accept from them.
  func testPassedSockets() throws {
    let folder = TestFolder()
    let made = try certificate()
    let script = """
      import os, socket, sys
      s = socket.create_server(("127.0.0.1", 0))
      s.setblocking(sys.argv[1] == "1")
      os.dup2(s.fileno(), 3)
      os.set_inheritable(3, True)
      os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="smtp", LISTEN_PID=str(os.getpid()))
      os.execv(sys.argv[2], sys.argv[2:])
      """
    func start(_ isBlocking: Bool) throws -> SpawnedProgram {
      unlink(folder.path + "/log")
      let words =
        ["/usr/bin/python3", "-c", script, isBlocking ? "1" : "0", try Programs.path("starttlsd"), "--allow-root", "--workers", "2"]
        + ["--certificate", made.certificate, "--key", made.key, "--trusting-backend", "--", "/bin/cat"]
      return try SpawnedProgram(words, errors: .file(folder.path + "/log"))
    }
    let refused = try start(true)
    XCTAssertEqual(refused.wait(), .exited(100))
    XCTAssertTrue(folder.text("log").contains("is blocking: set NonBlocking=yes, because several processes accept from it\n"), folder.text("log"))
    let program = try start(false)
    defer { program.kill() }
    XCTAssertTrue(eventually { folder.text("log").contains("2 workers serve\n") }, folder.text("log"))
    XCTAssertEqual(folder.text("log").components(separatedBy: "socket smtp: listening on 127.0.0.1:").count, 3, folder.text("log"))
    program.signal(SIGUSR2)
    XCTAssertTrue(eventually { folder.text("log").contains(" has taken over: ") }, folder.text("log"))
    XCTAssertEqual(folder.text("log").components(separatedBy: "socket smtp: listening on 127.0.0.1:").count, 5, folder.text("log"))
    program.signal(SIGTERM)
    XCTAssertEqual(program.wait(), .exited(0))
  }
}
