// A descriptor is closed exactly once, by its owner, and is close-on-exec from its first moment.

import CKernel
import Glibc
import Transport
import XCTest

final class DescriptorTests: XCTestCase {
  private func isOpen(_ number: CInt) -> Bool { fcntl(number, F_GETFD) != -1 }

  func testTheOwnerClosesWhenItEnds() throws {
    var numbers: [CInt] = []
    do {
      let pair = try DescriptorPair.sockets()
      numbers = [pair.first.number, pair.second.number]
      XCTAssertTrue(isOpen(numbers[0]) && isOpen(numbers[1]))
    }
    XCTAssertFalse(isOpen(numbers[0]))
    XCTAssertFalse(isOpen(numbers[1]))
  }

  func testReleaseGivesAnOpenNumberAway() throws {
    let number = Descriptor(adopting: dup(1)).release()
    XCTAssertTrue(isOpen(number))
    XCTAssertEqual(close(number), 0)
  }

  func testEverythingIsCloseOnExec() throws {
    let sockets = try DescriptorPair.sockets()
    let pipe = try DescriptorPair.pipe()
    let double = try sockets.first.duplicate(notBelow: 40)
    XCTAssertGreaterThanOrEqual(double.number, 40)
    let listener = try Listener(.loopback(port: 0))
    let connection = try listener.address.connect()
    waitFor(listener.descriptor.number, POLLIN)
    guard case .connection(let accepted) = listener.accept() else { return XCTFail("no connection") }
    for number in [
      sockets.first.number, sockets.second.number, pipe.first.number, pipe.second.number, double.number,
      listener.descriptor.number, connection.number, accepted.descriptor.number,
    ] {
      XCTAssertEqual(fcntl(number, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC, "descriptor \(number)")
    }
    try double.setCloseOnExec(false)
    XCTAssertEqual(fcntl(double.number, F_GETFD) & FD_CLOEXEC, 0)
  }

  func testKinds() throws {
    let sockets = try DescriptorPair.sockets()
    let pipe = try DescriptorPair.pipe()
    XCTAssertEqual(try sockets.first.kind(), .socket)
    XCTAssertEqual(try pipe.first.kind(), .pipe)
    XCTAssertEqual(try Descriptor(adopting: open("/dev/null", O_RDONLY | O_CLOEXEC)).kind(), .terminal)
    XCTAssertEqual(try Descriptor(adopting: open("/proc/self/status", O_RDONLY | O_CLOEXEC)).kind(), .file)
  }

  func testAFailureNamesItsCall() {
    withFault(.error(EMFILE), at: 1, of: [.pipe2]) {
      do {
        _ = try DescriptorPair.pipe()
        XCTFail("no error")
      } catch {
        XCTAssertEqual(error as? SystemError, SystemError("pipe2", EMFILE))
        XCTAssertEqual("\(error)", "pipe2: Too many open files")
      }
    }
  }
}
