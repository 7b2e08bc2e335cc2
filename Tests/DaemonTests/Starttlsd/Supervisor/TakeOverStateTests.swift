// TakeOverStateTests: what a supervisor passes to the program that takes over is what counts there.
//
// The program on the disk is a script that changes the state on its way to the real program.

import CKernel
import Foundation
import Glibc
import XCTest

final class TakeOverStateTests: WorkersTestCase {
  /// Replaces the program by one that changes the state of a take-over, and has it take over.
  ///
  /// - Parameter change: lines of Python that change `texts`, the texts of the state.
  private func takeOver(_ workers: RunningWorkers, _ change: String) throws {
    let built = URL(fileURLWithPath: try Programs.path("starttlsd")).resolvingSymlinksInPath().path
    let script = """
      #!/usr/bin/python3
      import os, sys
      if "STARTTLSD_TAKE_OVER" in os.environ:
          state = int(os.environ["STARTTLSD_TAKE_OVER"])
          rest, texts = os.pread(state, 1 << 20, 0), []
          while rest:
              length, rest = rest.split(b":", 1)
              texts.append(rest[:int(length)])
              rest = rest[int(length) + 1:]
          \(change.split(separator: "\n").joined(separator: "\n    "))
          os.ftruncate(state, 0)
          os.pwrite(state, b"".join(b"%d:%s," % (len(text), text) for text in texts), 0)
      os.execv("\(built)", sys.argv)

      """
    try Data(script.utf8).write(to: URL(fileURLWithPath: workers.path + ".new"))
    chmod(workers.path + ".new", 0o755)
    XCTAssertEqual(rename(workers.path + ".new", workers.path), 0)
    workers.program.signal(SIGUSR2)
  }

  /// The sockets are open: a name that cannot be found now ends nothing.
  func testATakeOverResolvesNoNames() throws {
    let workers = try workers(2, ["--listen", "localhost:0"])
    try takeOver(workers, "texts = [b'name.invalid.:0' if text == b'localhost:0' else text for text in texts]")
    workers.waits(for: " has taken over: 2 workers serve, 2 old ones end with their sessions\n")
    let client = try XCTUnwrap(try clients(1, workers).first)
    XCTAssertEqual(try client.ask("NOOP"), "250 2.0.0 OK")
    client.close()
    // The next change needs the name.
    workers.program.signal(SIGHUP)
    workers.waits(for: "name.invalid.:0")
    XCTAssertTrue(workers.log.contains(": the listeners stay as they were\n"), workers.log)
  }

  /// A worker that ends with its sessions is killed at the time that it was given first, whichever program the supervisor is then.
  func testARetiringWorkerKeepsItsTime() throws {
    let workers = try workers(2)
    let held = try clients(4, workers)
    let hung = try XCTUnwrap(workers.workers.values.first { !ProcessTable.backends(of: $0).isEmpty })
    kill(hung, SIGSTOP)
    defer { kill(hung, SIGCONT) }
    workers.program.signal(SIGUSR2)
    workers.waits(for: " has taken over: ")
    // Of the texts of a process the time until it is killed is the last one; 1 says that it is retiring.
    try takeOver(
      workers,
      """
      for index in range(len(texts) - 5):
          if texts[index] == b"\(hung)" and texts[index + 4] == b"1":
              assert 10000 < int(texts[index + 5]) <= 75000, texts[index + 5]
              texts[index + 5] = b"200"
      """)
    workers.waits(for: "process \(hung), has not ended: it is killed\n")
    workers.waits(for: "process \(hung), was ended by signal 9\n")
    for client in held { client.close() }
  }
}
