// A child that is stopped before its program is executed does not stop its parent: any process of the child's user can send SIGSTOP.

import CKernel
import Foundation
import Glibc
@testable import Transport
import XCTest

final class StoppedStartTests: XCTestCase {
  /// Stops the first child that this process gets. If the start does not end by itself, it kills the child.
  private final class Stopper: @unchecked Sendable {
    private let lock = NSLock()
    private var hasEnded = false
    private(set) var stopped: pid_t = 0
    private(set) var isHung = false
    private let known = children()

    func start() {
      let thread = Thread { [self] in
        while !ended, stopped == 0 {
          guard let child = Self.children().subtracting(known).first, kill(child, SIGSTOP) == 0 else { continue }
          stopped = child
        }
        for _ in 0..<1_000 where !ended { usleep(10_000) }
        guard !ended else { return }
        isHung = true
        kill(stopped, SIGKILL)
      }
      thread.start()
    }

    func end() { lock.withLock { hasEnded = true } }

    private var ended: Bool { lock.withLock { hasEnded } }

    private static func children() -> Set<pid_t> {
      let tasks = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/task")) ?? []
      let texts = tasks.map { (try? String(contentsOfFile: "/proc/self/task/\($0)/children", encoding: .utf8)) ?? "" }
      return Set(texts.joined(separator: " ").split(separator: " ").compactMap { pid_t($0) })
    }
  }

  func testTheParentGoesOn() throws {
    // So many places to look for the program that there is time to stop the search.
    let nowhere = strdup("/nowhere/program")
    let count = 1_000_000
    let paths = UnsafeMutablePointer<UnsafePointer<CChar>?>.allocate(capacity: count + 1)
    defer {
      paths.deallocate()
      free(nowhere)
    }
    paths.initialize(repeating: UnsafePointer(nowhere), count: count)
    (paths + count).initialize(to: nil)
    let null = try Kernel.open("/dev/null", O_RDWR)
    defer { Kernel.close(null) }
    let strings = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>.allocate(capacity: 2)
    defer { strings.deallocate() }
    strings.initialize(to: nowhere)
    (strings + 1).initialize(to: nil)
    var setting = kernel_spawn(
      paths: paths, arguments: strings, environment: strings + 1, standard_streams: null, changes_user: true, user: geteuid(),
      open_files: nil, data: nil, processes: nil)
    // The search may have ended before the signal: another try.
    for _ in 0..<20 {
      let stopper = Stopper()
      stopper.start()
      var descriptor: CInt = -1
      let process = kernel_spawn(&setting, &descriptor)
      let error = errno
      stopper.end()
      XCTAssertEqual(process, -1)
      try XCTSkipIf(error == ENOSYS, "this way to start programs is not possible here")
      XCTAssertFalse(stopper.isHung, "the parent was stopped with its child")
      if error == ENOENT, !stopper.isHung { continue }
      XCTAssertEqual(error, ECANCELED)
      XCTAssertNotEqual(kill(stopper.stopped, 0), 0, "the child is left")
      return
    }
    XCTFail("no child was stopped")
  }
}
