// WorkerTests: several workers serve; what happens when one of them, or the supervisor, ends.

import Foundation
import Glibc
import XCTest

final class WorkerTests: WorkersTestCase {
  /// For sessions that go on after the stop: the grace time must not be over before a slow test has ended them.
  private let grace = ["--grace", "60"]

  func testTwoWorkersServeAndBothAreUsed() throws {
    let workers = try workers(2)
    XCTAssertEqual(Set(workers.workers.keys), [1, 2], workers.log)
    let clients = try clients(8, workers)
    let spread = sessions(of: workers)
    XCTAssertGreaterThan(spread[1] ?? 0, 0, "\(spread) \(workers.log)")
    XCTAssertGreaterThan(spread[2] ?? 0, 0, "\(spread) \(workers.log)")
    for client in clients {
      try client.ask("EHLO client.example")
      try client.startTLS()
      try deliver(client)
      XCTAssertEqual(try client.ask("QUIT"), "221 2.0.0 Bye")
    }
    XCTAssertEqual(workers.messages, 8)
  }

  /// SIGKILL: its clients lose their connections, those of the other stay, and another one is started.
  func testAKilledWorkerIsStartedAgain() throws {
    let workers = try workers(2)
    let first = try XCTUnwrap(workers.workers[1])
    let clients = try clients(6, workers)
    for client in clients { try deliver(client) }
    let acknowledged = clients.count
    kill(first, SIGKILL)
    workers.waits(for: "worker 1, process \(first), was ended by signal 9: it is started again now\n")
    XCTAssertTrue(eventually { workers.workers[1] != first && workers.log.components(separatedBy: "listening on ").count == 4 }, workers.log)
    XCTAssertEqual(workers.messages, acknowledged)
    let alive = clients.count { (try? $0.ask("NOOP")) == "250 2.0.0 OK" }
    XCTAssertTrue((1..<clients.count).contains(alive), "\(alive) of \(clients.count) go on")
    for client in try self.clients(6, workers) {
      try deliver(client)
      XCTAssertEqual(try client.ask("QUIT"), "221 2.0.0 Bye")
    }
    XCTAssertEqual(workers.messages, acknowledged + 6)
    XCTAssertGreaterThan(sessions(of: workers)[2] ?? 0, 0)
  }

  /// One that ends again and again is started later each time. The other one serves meanwhile.
  func testAWorkerThatEndsAgainIsStartedLater() throws {
    let workers = try workers(2)
    /// Kills worker 1 and waits for the line that states when it is started again.
    func kill(_ wait: String) throws -> (process: pid_t, at: Date) {
      let process = try XCTUnwrap(workers.workers[1])
      let time = Date()
      Glibc.kill(process, SIGKILL)
      workers.waits(for: "worker 1, process \(process), was ended by signal 9: it is started again \(wait)\n")
      return (process, time)
    }
    func isStartedAgain(_ ended: pid_t) -> Bool { eventually { workers.workers[1] != ended } }
    XCTAssertTrue(isStartedAgain(try kill("now").process), workers.log)
    let second = try kill("in 1 s")
    let client = try client(workers)
    try client.expect("220 ")
    XCTAssertEqual(try client.ask("QUIT"), "221 2.0.0 Bye")
    XCTAssertTrue(isStartedAgain(second.process), workers.log)
    XCTAssertGreaterThanOrEqual(Date().timeIntervalSince(second.at), 1)
    _ = try kill("in 2 s")
  }

  /// A worker that has lost a process of its own lets its sessions end; another one takes its place at once.
  func testAWorkerThatStopsByItselfIsReplaced() throws {
    let workers = try workers(2, grace)
    let clients = try clients(4, workers)
    let first = try XCTUnwrap(workers.workers[1])
    let reader = try XCTUnwrap(ProcessTable.helpers(of: first)["starttlsd-read"])
    kill(reader, SIGKILL)
    workers.waits(for: "worker 1, process \(first), stops by itself: another one takes its place\n")
    XCTAssertTrue(eventually { workers.workers[1] != first }, workers.log)
    for client in clients {
      try deliver(client)
      XCTAssertEqual(try client.ask("QUIT"), "221 2.0.0 Bye")
    }
    workers.waits(for: "worker 1, process \(first), exited with code 111\n")
    XCTAssertEqual(workers.messages, 4)
  }

  /// SIGKILL of the supervisor: sessions may end, nothing more is accepted, no process remains.
  func testAKilledSupervisorLeavesNoProcess() throws {
    let workers = try workers(2, grace)
    let client = try XCTUnwrap(try clients(1, workers).first)
    workers.program.kill()
    XCTAssertTrue(eventually { workers.log.components(separatedBy: "the supervisor has ended: stopping").count == 3 }, workers.log)
    assertRefuses(workers.port)
    try deliver(client)
    XCTAssertEqual(try client.ask("QUIT"), "221 2.0.0 Bye")
    client.close()
    XCTAssertTrue(eventually { workers.processes.isEmpty }, "\(workers.processes.map(ProcessTable.commandLine))")
    XCTAssertEqual(workers.messages, 1)
  }

  func testStopLetsSessionsEndAndLeavesNothing() throws {
    let workers = try workers(2, grace)
    let clients = try clients(4, workers)
    workers.program.signal(SIGTERM)
    XCTAssertTrue(eventually { workers.log.components(separatedBy: "have 60 s to end").count == 3 }, workers.log)
    assertRefuses(workers.port)
    for client in clients {
      try deliver(client)
      XCTAssertEqual(try client.ask("QUIT"), "221 2.0.0 Bye")
      client.close()
    }
    XCTAssertEqual(workers.program.wait(), .exited(0), workers.log)
    XCTAssertTrue(eventually { workers.processes.isEmpty }, "\(workers.processes.map(ProcessTable.commandLine))")
    XCTAssertEqual(workers.messages, 4)
  }

  /// A service manager sends SIGTERM to all processes (KillMode=control-group): sessions have their time all the same.
  func testAStopOfAllProcessesLetsSessionsEnd() throws {
    let workers = try workers(2, grace)
    let clients = try clients(4, workers)
    workers.program.signal(SIGTERM)
    XCTAssertTrue(eventually { workers.log.components(separatedBy: "have 60 s to end").count == 3 }, workers.log)
    for process in workers.workers.values { kill(process, SIGTERM) }
    for client in clients {
      try deliver(client)
      XCTAssertEqual(try client.ask("QUIT"), "221 2.0.0 Bye")
      client.close()
    }
    XCTAssertEqual(workers.program.wait(), .exited(0), workers.log)
    XCTAssertEqual(workers.messages, 4)
  }

  /// The SIGTERM of a service manager is pending in a worker when the stop of the supervisor comes: both count as one stop, but the
  /// operator's second one ends the grace time.
  func testASecondStopEndsTheGraceTimeAlsoIfAllProcessesGotTheFirst() throws {
    let workers = try workers(2, ["--grace", "100"])
    let clients = try clients(4, workers)
    for process in workers.workers.values {
      kill(process, SIGSTOP)
      kill(process, SIGTERM)
    }
    workers.program.signal(SIGTERM)
    workers.waits(for: "stopping: 2 workers")
    for process in workers.workers.values { kill(process, SIGCONT) }
    XCTAssertTrue(eventually { workers.log.components(separatedBy: "have 100 s to end").count == 3 }, workers.log)
    for client in clients { try client.ask("EHLO client.example") }
    workers.program.signal(SIGTERM)
    for client in clients {
      try client.expect("421 4.3.2 ")
      client.close()
    }
    XCTAssertEqual(workers.program.wait(), .exited(0), workers.log)
  }

  /// The same for a worker that has stopped by itself before.
  func testASecondStopEndsTheGraceTimeOfAWorkerThatStopsByItself() throws {
    let workers = try workers(2, ["--grace", "100"])
    let clients = try clients(4, workers)
    let first = try XCTUnwrap(workers.workers[1])
    kill(first, SIGTERM)
    workers.waits(for: "worker 1, process \(first), stops by itself: another one takes its place\n")
    XCTAssertTrue(eventually { workers.workers[1] != first }, workers.log)
    workers.program.signal(SIGTERM)
    workers.waits(for: "stopping: 3 workers\n")
    XCTAssertTrue(eventually { workers.log.components(separatedBy: "have 100 s to end").count >= 3 }, workers.log)
    for client in clients { try client.ask("EHLO client.example") }
    workers.program.signal(SIGTERM)
    for client in clients {
      try client.expect("421 4.3.2 ")
      client.close()
    }
    XCTAssertEqual(workers.program.wait(), .exited(0), workers.log)
  }

  /// Each worker has its part of the sessions, and sockets of its own for its state.
  func testLimitsAndStatusOfEachWorker() throws {
    let folder = TestFolder()
    let path = folder.path + "/status"
    let workers = try workers(2, ["--max-connections", "5", "--status-socket", path, "--metrics", "unix:\(folder.path)/metrics"])
    XCTAssertEqual(folder.names(in: ""), ["metrics", "status.1", "status.2"])
    let output = try run([try Programs.path("starttlsd"), "status", path]).output
    for process in workers.workers.values { XCTAssertTrue(output.contains("process \(process), up"), output) }
    XCTAssertEqual(output.components(separatedBy: "sessions: 0 of 3 ").count, 3, output)
    let json = try run([try Programs.path("starttlsd"), "status", "--json", path]).output
    XCTAssertEqual(json.split(separator: "\n").count, 2)
    workers.program.signal(SIGTERM)
    XCTAssertEqual(workers.program.wait(), .exited(0), workers.log)
    XCTAssertEqual(folder.names(in: ""), [])
  }

  /// The limits of one address are divided, so that more workers do not mean more sessions of one address.
  func testTheLimitsOfOneAddressAreDivided() throws {
    let workers = try workers(2, ["--max-connections-per-address", "8"])
    var admitted = 0
    // Held to the end.
    var clients: [SMTPClient] = []
    // Workers take clients in turn: these are more than enough for both.
    for _ in 0..<20 {
      let client = try client(workers)
      clients.append(client)
      if try client.reply().hasPrefix("220 ") { admitted += 1 }
    }
    XCTAssertTrue((4...8).contains(admitted), "\(admitted) are admitted: \(workers.log)")
    XCTAssertTrue(workers.log.contains("its address has 4 sessions in this worker (--max-connections-per-address)"), workers.log)
  }

  /// A worker that cannot start ends all, with its exit code and one line of its own.
  func testAWorkerThatCannotStartEndsAll() throws {
    let made = try certificate()
    for (options, code, text) in [
      (["--certificate", "/does/not/exist", "--key", made.key], 100, "/does/not/exist"),
      (["--certificate", made.certificate, "--key", made.key, "--max-connections", "0"], 100, "--max-connections 0"),
      (["--certificate", made.certificate, "--key", made.key, "--inetd"], 100, "--workers cannot be used with --inetd"),
      (["--certificate", made.certificate, "--key", made.key, "--listen", "192.0.2.1:1"], 111, "cannot listen on 192.0.2.1:1"),
      (["--certificate", made.certificate, "--key", made.key, "--workers", "257"], 100, "257"),
    ] as [([String], CInt, String)] {
      let words = [try Programs.path("starttlsd"), "--allow-root", "--workers", "2"]
      let result = try run(
        words + (options.contains("--inetd") || options.contains("--listen") ? [] : ["--listen", "127.0.0.1:0"]) + options
          + ["--trusting-backend", "--", "/bin/cat"], expecting: .exited(code))
      XCTAssertTrue(result.errors.contains(text), result.errors)
    }
  }
}
