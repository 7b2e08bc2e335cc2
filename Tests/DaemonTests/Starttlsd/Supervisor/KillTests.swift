// KillTests: SIGKILL of each kind of process under load. What was acknowledged is in the Maildir.

import Foundation
import Glibc
import XCTest

final class KillTests: WorkersTestCase {
  private let options = ["--max-connections-per-address", "0", "--max-penalty", "0"]

  func testNothingAcknowledgedIsLost() throws {
    // With a limit of memory another process starts the server program.
    let workers = try workers(2, options + ["--backend-memory", "1000"])
    let load = ClientLoad(port: workers.port, rate: 100, delivering: true)
    func goesOn(_ what: String) {
      let before = load.count
      XCTAssertTrue(eventually { load.count >= before + 10 }, "no client is served after the end of \(what): \(workers.log)")
    }
    goesOn("nothing")
    for (name, victim) in [
      ("a server program", { self.workers(workers, 1).flatMap { ProcessTable.backends(of: $0).first } }),
      ("the key process", { self.helper("starttlsd-key", workers, 1) }), ("the starter", { self.helper("starttlsd-start", workers, 2) }),
      ("the reader", { self.helper("starttlsd-read", workers, 2) }), ("a worker", { self.workers(workers, 1) }),
    ] as [(String, () -> pid_t?)] {
      var process: pid_t?
      XCTAssertTrue(eventually { process = victim(); return process != nil }, "\(name) does not run: \(workers.log)")
      if let process { kill(process, SIGKILL) }
      goesOn(name)
    }
    workers.program.kill()
    workers.waits(for: "the supervisor has ended: stopping")
    _ = load.end()
    XCTAssertTrue(eventually { workers.processes.isEmpty }, "\(workers.processes.map(ProcessTable.commandLine)) \(workers.log)")
    let delivered = workers.folder.names(in: "Maildir/new").map { workers.folder.text("Maildir/new/" + $0) }.joined()
    let lost = load.subjects.filter { !delivered.contains("Subject: \($0)") }
    XCTAssertGreaterThan(load.subjects.count, 50)
    XCTAssertEqual(lost, [], workers.log)
  }

  /// nil while it is being replaced.
  private func workers(_ workers: RunningWorkers, _ number: Int) -> pid_t? {
    workers.workers[number].flatMap { process in ProcessTable.children(of: workers.program.process).contains(process) ? process : nil }
  }

  private func helper(_ name: String, _ workers: RunningWorkers, _ number: Int) -> pid_t? {
    self.workers(workers, number).flatMap { ProcessTable.helpers(of: $0)[name] }
  }
}
