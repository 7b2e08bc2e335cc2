// TakeOverTests: reloads and take-overs while clients come.

import CKernel
import Foundation
import Glibc
import XCTest

final class TakeOverTests: WorkersTestCase {
  func testAReloadReachesAllWorkers() throws {
    let folder = TestFolder()
    let made = try makeCertificate("renewed", in: folder)
    let workers = try workers(2, ["--certificate", made.certificate, "--key", made.key])
    workers.program.signal(SIGHUP)
    XCTAssertTrue(eventually { workers.log.components(separatedBy: "SIGHUP: the certificates are loaded again").count == 3 }, workers.log)
  }

  /// Replaces the program's file at once, as a package does.
  private func replace(_ workers: RunningWorkers, _ make: (_ path: String) throws -> Void) throws {
    try make(workers.path + ".new")
    XCTAssertEqual(rename(workers.path + ".new", workers.path), 0)
  }

  func testATakeOverUnderLoadRefusesNobody() throws {
    let workers = try workers(2, ["--max-connections-per-address", "0", "--max-penalty", "0"])
    let old = workers.workers
    let held = try XCTUnwrap(try clients(1, workers).first)
    let load = ClientLoad(port: workers.port, rate: 200)
    XCTAssertTrue(eventually { load.count >= 50 })
    // A copy: the process must execute another file.
    let built = URL(fileURLWithPath: try Programs.path("starttlsd")).resolvingSymlinksInPath().path
    try replace(workers) { try FileManager.default.copyItem(atPath: built, toPath: $0) }
    workers.program.signal(SIGUSR2)
    workers.waits(for: "has taken over: 2 workers serve, 2 old ones end with their sessions\n")
    let then = load.count
    XCTAssertTrue(eventually { load.count >= then + 400 })
    print("a take-over under load: \(load.summary)")
    XCTAssertEqual(load.end(), [], workers.log)
    // The same process, another program.
    let link = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(workers.program.process)/exe")
    XCTAssertEqual(link, workers.path)
    let new = workers.workers
    XCTAssertTrue(Set(new.values).isDisjoint(with: old.values), workers.log)
    for process in new.values {
      XCTAssertEqual(try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(process)/exe"), workers.path)
    }
    // A session of an old worker goes on.
    try deliver(held)
    XCTAssertEqual(try held.ask("QUIT"), "221 2.0.0 Bye")
    held.close()
    for process in old.values { workers.waits(for: "process \(process), exited with code 0\n") }
    XCTAssertEqual(workers.messages, 1)
    // And another time, with a worker that died in between.
    kill(try XCTUnwrap(new[2]), SIGKILL)
    XCTAssertTrue(eventually { workers.log.components(separatedBy: "listening on ").count == 6 }, workers.log)
    workers.program.signal(SIGUSR2)
    XCTAssertTrue(eventually { workers.log.components(separatedBy: " has taken over: ").count == 3 }, workers.log)
    XCTAssertEqual(Array(Set(try clients(4, workers).map { try $0.ask("NOOP") })), ["250 2.0.0 OK"])
  }

  func testAProgramThatCannotTakeOverLeavesTheOldWorkers() throws {
    let workers = try workers(2)
    let old = workers.workers
    let held = try XCTUnwrap(try clients(1, workers).first)
    for (script, text) in [
      ("exit 3", "exited with code 3 before all workers were ready: \(workers.path) does not take over, the workers stay as they were\n"),
      // It says that it is ready, and is another program.
      ("python3 -c 'import socket, os; socket.socket(fileno=int(os.environ[\"STARTTLSD_WORKER\"].split()[2])).send(b\"READY=1\")'; exec sleep 100",
        "it is another version, which cannot continue"),
    ] {
      try replace(workers) {
        try Data("#!/bin/sh\n\(script)\n".utf8).write(to: URL(fileURLWithPath: $0))
        chmod($0, 0o755)
      }
      workers.program.signal(SIGUSR2)
      workers.waits(for: text)
    }
    XCTAssertEqual(unlink(workers.path), 0)
    workers.program.signal(SIGUSR2)
    workers.waits(for: "No such file or directory: the workers stay as they were\n")
    for process in old.values { XCTAssertTrue(ProcessTable.children(of: workers.program.process).contains(process)) }
    for client in try clients(4, workers) + [held] {
      try deliver(client)
      XCTAssertEqual(try client.ask("QUIT"), "221 2.0.0 Bye")
    }
    XCTAssertEqual(workers.messages, 5)
  }
}
