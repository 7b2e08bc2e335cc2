// Messages between two processes: whole, in order, each with its descriptor, and never one that nobody owns.

import CKernel
import Glibc
import Transport
import XCTest

final class MessageSocketTests: XCTestCase {
  private func ends() throws -> (MessageSocketBox, MessageSocketBox) {
    let pair = try MessageSocket.pair()
    var made: [MessageSocketBox] = []
    pair.split { first, second in
      made = [MessageSocketBox(MessageSocket(first)), MessageSocketBox(MessageSocket(second))]
    }
    return (made[0], made[1])
  }

  /// A class, so that a test can end one side.
  private final class MessageSocketBox {
    let socket: MessageSocket
    init(_ socket: consuming MessageSocket) { self.socket = socket }
  }

  /// The octets of the next message and whether it has a descriptor; nil for none, `[]` for the end.
  private func next(_ box: MessageSocketBox, limit: Int = 100) -> (octets: [UInt8], hasDescriptor: Bool)? {
    switch box.socket.receive(limit: limit) {
    case .nothing: return nil
    case .ended: return ([], false)
    case .message(let message): return (message.octets, message.descriptor != nil)
    }
  }

  func testMessagesKeepTheirBoundariesAndDescriptors() throws {
    let (a, b) = try ends()
    let before = openDescriptors()
    try a.socket.send([1, 2])
    try a.socket.send([3], descriptor: 0)
    XCTAssertEqual(next(b)?.octets, [1, 2])
    let second = next(b)
    XCTAssertEqual(second?.octets, [3])
    XCTAssertEqual(second?.hasDescriptor, true)
    XCTAssertNil(next(b))
    XCTAssertEqual(openDescriptors(), before, "the descriptor is closed with the message")
  }

  func testAMessageThatIsTooLongIsTheEndAndLeavesNoDescriptor() throws {
    let (a, b) = try ends()
    let before = openDescriptors()
    try a.socket.send(Array(repeating: 1, count: 101), descriptor: 0)
    XCTAssertEqual(next(b)?.octets, [])
    XCTAssertEqual(openDescriptors(), before)
  }

  /// sendmsg(2) with two descriptors.
  func testAMessageWithTwoDescriptorsIsTheEndAndLeavesNone() throws {
    let (a, b) = try ends()
    let before = openDescriptors()
    var octet: UInt8 = 1
    // cmsghdr(3): the length, SOL_SOCKET, SCM_RIGHTS, the descriptors.
    var control: (Int, CInt, CInt, CInt, CInt) = (24, SOL_SOCKET, 1, 0, 1)
    let sent = withUnsafeMutablePointer(to: &octet) { octet in
      withUnsafeMutablePointer(to: &control) { control in
        var vector = iovec(iov_base: octet, iov_len: 1)
        return withUnsafeMutablePointer(to: &vector) { vector in
          var message = msghdr(
            msg_name: nil, msg_namelen: 0, msg_iov: vector, msg_iovlen: 1, msg_control: control, msg_controllen: 24, msg_flags: 0)
          return sendmsg(a.socket.descriptor.number, &message, 0)
        }
      }
    }
    XCTAssertEqual(sent, 1)
    XCTAssertEqual(next(b)?.octets, [])
    XCTAssertEqual(openDescriptors(), before)
  }

  func testAMessageWithoutOctetsIsTheEndAndLeavesNoDescriptor() throws {
    let (a, b) = try ends()
    let before = openDescriptors()
    XCTAssertEqual(kernel_send_message(a.socket.descriptor.number, "", 0, 0, 0), 0)
    XCTAssertEqual(next(b)?.octets, [])
    XCTAssertEqual(openDescriptors(), before)
  }

  func testWithoutRoomNothingIsSentInPart() throws {
    let (a, b) = try ends()
    var count = 0
    while (try? a.socket.send(Array(repeating: 7, count: 4000))) != nil { count += 1 }
    XCTAssertGreaterThan(count, 1)
    for _ in 0..<count { XCTAssertEqual(next(b, limit: 4000)?.octets.count, 4000) }
    XCTAssertNil(next(b))
  }

  func testTheEndOfTheOtherSide() throws {
    let (a, b) = try ends()
    try a.socket.send([1])
    func end(_ box: consuming MessageSocketBox) { _ = consume box }
    end(consume a)
    XCTAssertEqual(next(b)?.octets, [1])
    XCTAssertEqual(next(b)?.octets, [])
    XCTAssertThrowsError(try b.socket.send([1])) { XCTAssertEqual(($0 as? SystemError)?.code, EPIPE) }
  }

  /// Too many descriptors of this user are on their way.
  func testAMessageThatMayNotCarryItsDescriptorWaits() throws { try assertWaits(in: ETOOMANYREFS) }

  func testAMessageWaitsForMemory() throws {
    try assertWaits(in: ENOMEM)
    try assertWaits(in: ENOBUFS)
  }

  private func assertWaits(in lack: CInt) throws {
    let (a, b) = try ends()
    var refusals = 0
    Kernel.fault = { call in
      guard call == .sendmsg, refusals < 3 else { return nil }
      refusals += 1
      return .error(lack)
    }
    defer { Kernel.fault = nil }
    XCTAssertThrowsError(try a.socket.send([1], descriptor: 0)) { XCTAssertEqual(($0 as? SystemError)?.code, lack) }
    XCTAssertNil(next(b))
    try a.socket.send([2], descriptor: 0, isWaiting: true)
    XCTAssertEqual(refusals, 3)
    let sent = next(b)
    XCTAssertEqual(sent?.octets, [2])
    XCTAssertEqual(sent?.hasDescriptor, true)
  }

  func testItDoesNotWaitForAProcessThatHasEnded() throws {
    let (a, b) = try ends()
    Kernel.fault = { $0 == .sendmsg ? .error(ETOOMANYREFS) : nil }
    defer { Kernel.fault = nil }
    func end(_ box: consuming MessageSocketBox) { _ = consume box }
    end(consume b)
    XCTAssertThrowsError(try a.socket.send([1], descriptor: 0, isWaiting: true)) { XCTAssertEqual(($0 as? SystemError)?.code, EPIPE) }
  }
}
