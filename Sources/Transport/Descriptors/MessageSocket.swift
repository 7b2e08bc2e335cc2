// MessageSocket: one end of a connection between two of our processes. Each message may carry a descriptor.
//
// Contract: the kernel keeps the boundaries of messages (SOCK_SEQPACKET), so a message arrives complete or not at all.
// The end of the other process is the end of the connection.

import CKernel
import Glibc

/// A connected Unix socket that keeps message boundaries.
package struct MessageSocket: ~Copyable, Sendable {
  package let descriptor: Descriptor

  package init(_ descriptor: consuming Descriptor) {
    self.descriptor = descriptor
  }

  /// Two connected sockets, both close-on-exec and blocking.
  package static func pair() throws(SystemError) -> DescriptorPair {
    let ends = try Kernel.messageSockets()
    return DescriptorPair(first: Descriptor(adopting: ends.0), second: Descriptor(adopting: ends.1))
  }

  /// Sends a message, with a descriptor unless it is negative; the descriptor stays open here.
  ///
  /// - Parameter isWaiting: true to wait until the other process has room for it, and while there is a lack, see `isLack`.
  /// - Throws: EAGAIN if there is no room; an error of `isLack`; EPIPE or ECONNRESET if the other process has ended.
  package borrowing func send(
    _ octets: [UInt8], descriptor passed: CInt = -1, isWaiting: Bool = false
  ) throws(SystemError) {
    let flags = CInt(MSG_NOSIGNAL) | (isWaiting ? 0 : CInt(MSG_DONTWAIT))
    while true {
      do {
        return try Kernel.sendMessage(descriptor.number, octets, passed, flags)
      } catch {
        guard isWaiting, MessageSocket.isLack(error) else { throw error }
        try waitInLack()
      }
    }
  }

  /// True if a message can be sent later, and no event reports when: ETOOMANYREFS, too many descriptors of this user are in messages
  /// that nobody has received yet, those of other processes included; ENOMEM or ENOBUFS, the kernel has no memory.
  package static func isLack(_ error: SystemError) -> Bool { [ETOOMANYREFS, ENOMEM, ENOBUFS].contains(error.code) }

  /// The time after which a message is sent again in such a lack.
  package static let lackMilliseconds = 10

  /// Waits for that time. EPIPE if the other process ends: sendmsg(2) reports ETOOMANYREFS first.
  private borrowing func waitInLack() throws(SystemError) {
    var entry = pollfd(fd: descriptor.number, events: 0, revents: 0)
    if poll(&entry, 1, CInt(MessageSocket.lackMilliseconds)) > 0 { throw SystemError("sendmsg", EPIPE) }
  }

  /// The next message of at most `limit` octets, up to `Kernel.messageLimit`, or the end of the connection.
  ///
  /// - Parameter isWaiting: true to wait for it; otherwise it never waits.
  package borrowing func receive(limit: Int, isWaiting: Bool = false) -> Received {
    do {
      return try received(limit, isWaiting ? 0 : CInt(MSG_DONTWAIT))
    } catch {
      return error.code == EAGAIN ? .nothing : .ended
    }
  }

  private borrowing func received(_ limit: Int, _ flags: CInt) throws(SystemError) -> Received {
    let (octets, number) = try Kernel.receiveMessage(descriptor.number, limit: limit, flags)
    let passed = number < 0 ? nil : Descriptor(adopting: number)
    // The end, or a message without octets, which is none of ours but may have a descriptor.
    guard !octets.isEmpty else { return .ended }
    return .message(Message(octets: octets, descriptor: passed))
  }

  /// A message.
  package struct Message: ~Copyable {
    package let octets: [UInt8]
    package var descriptor: Descriptor?
  }

  package enum Received: ~Copyable {
    case message(Message)
    case nothing
    /// The other process has ended, or sent something that is not a message of ours.
    case ended
  }
}
