// WorkerUserTests: a supervisor as root, workers that are another user.

import Foundation
import Glibc
import XCTest

final class WorkerUserTests: WorkersTestCase {
  override func setUpWithError() throws {
    guard geteuid() == 0 else { throw Failure("this test changes users: run it as root") }
  }

  /// Only the workers change the user; they end with their supervisor all the same, and a take-over starts new ones from root.
  func testWorkersChangeTheUser() throws {
    let folder = TestFolder()
    let nobody = try XCTUnwrap(getpwnam("nobody")?.pointee)
    let status = folder.path + "/status"
    let workers = try workers(2, ["--user", "nobody", "--status-socket", status])
    func assertUsers(file: StaticString = #filePath, line: UInt = #line) {
      XCTAssertEqual(user(of: workers.program.process), 0, file: file, line: line)
      for process in workers.workers.values { XCTAssertEqual(user(of: process), nobody.pw_uid, file: file, line: line) }
      for number in 1...2 {
        var entry = stat()
        XCTAssertEqual(stat("\(status).\(number)", &entry), 0, file: file, line: line)
        XCTAssertEqual(entry.st_uid, nobody.pw_uid, file: file, line: line)
        XCTAssertEqual(entry.st_mode & 0o777, 0o600, file: file, line: line)
      }
    }
    assertUsers()
    let old = workers.workers
    workers.program.signal(SIGUSR2)
    workers.waits(for: " has taken over: ")
    for process in old.values { workers.waits(for: "process \(process), exited with code 0\n") }
    assertUsers()
    let output = try run([try Programs.path("starttlsd"), "status", status]).output
    for process in workers.workers.values { XCTAssertTrue(output.contains("process \(process), up"), output) }
    workers.program.kill()
    XCTAssertTrue(eventually { workers.processes.isEmpty }, "\(workers.processes.map(ProcessTable.commandLine)) \(workers.log)")
  }

  private func user(of process: pid_t) -> uid_t? {
    ProcessTable.status(of: process)["Uid"]?.split(separator: "\t").first.flatMap { uid_t($0) }
  }
}
