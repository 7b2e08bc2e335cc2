// A detached process is nobody's child here, and its memory is its own.

import Glibc
import Transport
import XCTest

final class DetachedProcessTests: XCTestCase {
  func testItIsAProcessOfItsOwnAndNoChild() throws {
    let (near, far) = try Kernel.socketPair()
    defer {
      close(near)
      close(far)
    }
    var mark: UInt8 = 1
    switch try DetachedProcess.fork() {
    case .detached:
      // Nothing here may need what another thread of the tests might hold.
      mark = 2
      var numbers = (getpid(), getppid(), mark)
      _ = write(far, &numbers, MemoryLayout.size(ofValue: numbers))
      // Until the test has looked.
      _ = read(far, &mark, 1)
      _exit(0)
    case .original: break
    }
    var numbers: (pid_t, pid_t, UInt8) = (0, 0, 0)
    XCTAssertTrue(waitFor(near, POLLIN))
    XCTAssertEqual(read(near, &numbers, MemoryLayout.size(ofValue: numbers)), MemoryLayout.size(ofValue: numbers))
    XCTAssertEqual(numbers.2, 2)
    XCTAssertEqual(mark, 1, "the memory is not shared")
    XCTAssertNotEqual(numbers.0, getpid())
    XCTAssertNotEqual(numbers.1, getpid())
    XCTAssertEqual(kill(numbers.0, 0), 0, "it runs")
    errno = 0
    XCTAssertEqual(waitpid(numbers.0, nil, WNOHANG), -1)
    XCTAssertEqual(errno, ECHILD, "it is no child of this process")
    XCTAssertEqual(ProcessChildren.zombies(), [], "the process between has been reaped")
    _ = write(near, &mark, 1)
  }

  func testAllDescriptorsButSomeAreClosed() throws {
    let (near, kept) = try Kernel.socketPair()
    // Around the one that is kept, and a pair for those who hold the lowest and the highest number.
    let doubles = (0..<4).map { _ in dup(kept) }
    defer { for number in doubles + [near, kept] { close(number) } }
    switch try DetachedProcess.fork() {
    case .detached:
      let list: InlineArray<3, CInt> = [doubles[2], -1, kept]
      DetachedProcess.closeAll(but: list.span)
      var open: UInt8 = 0
      for number: CInt in 0..<1024 where fcntl(number, F_GETFD) >= 0 { open += 1 }
      let isRight = fcntl(kept, F_GETFD) >= 0 && fcntl(doubles[2], F_GETFD) >= 0 && fcntl(doubles[3], F_GETFD) < 0
      if !isRight { open = 255 }
      _ = write(kept, &open, 1)
      _exit(0)
    case .original: break
    }
    var open: UInt8 = 0
    XCTAssertTrue(waitFor(near, POLLIN))
    XCTAssertEqual(read(near, &open, 1), 1)
    XCTAssertEqual(open, 5, "the standard streams and the two")
  }
}

private enum ProcessChildren {
  /// The ended children of this process that nobody has reaped.
  static func zombies() -> [String] {
    guard let file = fopen("/proc/thread-self/children", "r") else { return [] }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 4096)
    guard fgets(&line, 4096, file) != nil else { return [] }
    let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return text.split(separator: " ").map(String.init).filter { number in
      var status = siginfo_t()
      guard let process = UInt32(number) else { return false }
      return waitid(P_PID, process, &status, WEXITED | WNOHANG | WNOWAIT) == 0 && status.si_signo != 0
    }
  }
}
