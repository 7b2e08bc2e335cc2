// StatusFlagsTests: the promise that the project was made for. The accepted socket's description is never made
// non-blocking, not in any phase, not for a moment.

import Foundation
import Glibc
import XCTest

final class StatusFlagsTests: StarttlsdTestCase {
  func testTheClientsSocketIsBlockingInEveryPhase() throws {
    let daemon = try daemon()
    for phase in SessionPhase.allCases {
      let client = try client(daemon)
      try phase.enter(client)
      if phase == .connected { XCTAssertTrue(eventually { !daemon.backends.isEmpty }) }
      let inode = try XCTUnwrap(ProcessTable.acceptedSocket(on: daemon.port, from: client.ownPort))
      for _ in 0..<5 {
        let numbers = ProcessTable.descriptors(of: daemon.process).filter { $0.value == inode }.map(\.key)
        XCTAssertEqual(numbers.count, 1, "\(phase)")
        for number in numbers {
          let flags = try XCTUnwrap(ProcessTable.statusFlags(of: number, in: daemon.process))
          XCTAssertEqual(flags & O_NONBLOCK, 0, "\(phase)")
          XCTAssertEqual(flags & O_ACCMODE, O_RDWR, "\(phase)")
        }
        usleep(1000)
      }
      client.close()
      daemon.assertIdle()
    }
  }

  /// Not even for a moment: every call that could set a flag, watched through whole sessions.
  func testNoCallSetsAStatusFlag() throws {
    let daemon = try daemon()
    let folder = TestFolder()
    let tracer = try SpawnedProgram(
      [
        "strace", "-qq", "-p", "\(daemon.process)", "-e", "trace=fcntl,ioctl,accept,accept4,socketpair", "-o",
        folder.path + "/calls",
      ],
      errors: .file(folder.path + "/errors"))
    let isTraced = eventually { ProcessTable.tracer(of: daemon.process) == tracer.process || !tracer.isRunning }
    guard isTraced, tracer.isRunning else { throw XCTSkip("tracing is not allowed: \(folder.text("errors"))") }
    for phase in SessionPhase.allCases {
      let client = try client(daemon)
      try phase.enter(client)
      client.close()
      daemon.assertIdle()
    }
    tracer.signal(SIGINT)
    XCTAssertNotNil(tracer.wait())
    let calls = folder.text("calls").split(separator: "\n")
    let accepted = calls.filter { $0.hasPrefix("accept") && !$0.contains(" = -1 ") }
    XCTAssertEqual(accepted.count, SessionPhase.allCases.count, "the trace is not complete")
    for call in calls {
      XCTAssertFalse(call.contains("F_SETFL") || call.contains("FIONBIO") || call.contains("FIOASYNC"), "\(call)")
      if call.hasPrefix("accept") { XCTAssertFalse(call.contains("SOCK_NONBLOCK"), "\(call)") }
    }
  }
}
