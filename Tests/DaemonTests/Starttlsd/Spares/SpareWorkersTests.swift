// SpareWorkersTests: each worker has its part of the spare processes, and they end with it.

import Foundation
import Glibc
import XCTest

final class SpareWorkersTests: WorkersTestCase {
  /// The processes of the server program.
  private func programs(_ workers: RunningWorkers) -> Set<pid_t> {
    Set(workers.processes.filter { ProcessTable.commandLine(of: $0).split(separator: " ").first?.hasSuffix("/maildir-smtpd") == true })
  }

  func testEachWorkerHasItsPart() throws {
    let folder = TestFolder()
    let workers = try workers(2, ["--spare-backends", "3", "--backend-client", "none", "--status-socket", folder.path + "/status"])
    let full = Spares(ready: 2, wanted: 2, taken: 0, givenUp: 0)
    for number in 1...2 { XCTAssertTrue(eventually { (try? Spares(of: "\(folder.path)/status.\(number)")) == full }, workers.log) }
    let before = programs(workers)
    XCTAssertEqual(before.count, 4)

    // New workers take over: they start their own, those of the old ones end.
    workers.program.signal(SIGUSR2)
    XCTAssertTrue(eventually(within: 2 * Deadline.seconds) { programs(workers).isDisjoint(with: before) && programs(workers).count == 4 }, workers.log)
  }
}
