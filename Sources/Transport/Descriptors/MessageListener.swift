// MessageListener: a socket with a path to which other processes connect with a `MessageSocket`.
//
// Contract: the path always leads to a listening socket. A new listener replaces the path of an earlier one in one step;
// connections to the earlier one stay. A file of another kind is never replaced: EEXIST. The mode of the socket is 0777 without the bits of the umask, and others than owner
// and group never get access.
//
// Failure: a SystemError. After a failed start no file is left.

import CKernel
import Glibc

/// A listening Unix socket that keeps message boundaries.
package struct MessageListener: ~Copyable {
  private static let backlog: CInt = 4_096
  private let descriptor: Descriptor

  /// Listens at a path.
  package init(_ path: String) throws(SystemError) {
    descriptor = try MessageListener.listening(at: path)
  }

  private static func listening(at path: String) throws(SystemError) -> Descriptor {
    var information = stat()
    if lstat(path, &information) == 0 {
      guard information.st_mode & S_IFMT == S_IFSOCK else { throw SystemError("bind", EEXIST) }
    } else if errno != ENOENT {
      throw .last("bind")
    }
    let descriptor = Descriptor(adopting: try Kernel.socket(AF_UNIX, 0, type: SOCK_SEQPACKET))
    // Its own name, until it listens. One that an earlier process with this number left is replaced.
    let name = "\(path).\(getpid())"
    try? Kernel.unlink(name)
    try bind(descriptor.number, name)
    do throws(SystemError) {
      try Kernel.listen(descriptor.number, backlog)
      try Kernel.rename(name, path)
    } catch {
      try? Kernel.unlink(name)
      throw error
    }
    return descriptor
  }

  private static func bind(_ number: CInt, _ name: String) throws(SystemError) {
    let mask = umask(0o077)
    umask(mask | 0o007)
    defer { umask(mask) }
    try SocketAddress.unix(name).withKernelForm { (form, length) throws(SystemError) in
      try Kernel.bind(number, form, length)
    }
  }

  /// For poll: readable when a connection waits.
  package var number: CInt { descriptor.number }

  /// Waits for a connection.
  package borrowing func accept() throws(SystemError) -> MessageSocket {
    var number: CInt = -1
    _ = try SocketAddress.filled { (form, length) throws(SystemError) in
      number = try Kernel.accept(descriptor.number, form, &length)
    }
    return MessageSocket(Descriptor(adopting: number))
  }
}

extension MessageSocket {
  /// Connects to a listener. It never waits.
  ///
  /// - Throws: ENOENT or ECONNREFUSED if no process listens; EAGAIN if too many connections wait; EACCES, ENAMETOOLONG.
  package static func connect(to path: String) throws(SystemError) -> MessageSocket {
    let flags = CInt(SOCK_NONBLOCK.rawValue)
    let descriptor = Descriptor(adopting: try Kernel.socket(AF_UNIX, flags, type: SOCK_SEQPACKET))
    let number = descriptor.number
    try SocketAddress.unix(path).withKernelForm { (form, length) throws(SystemError) in
      try Kernel.connect(number, form, length)
    }
    return MessageSocket(descriptor)
  }

  /// Waits for the next message, or the end of the connection; nil if there is none within this time.
  ///
  /// - Parameter milliseconds: negative to wait without limit.
  package borrowing func next(limit: Int, within milliseconds: Int) -> Received {
    let deadline = Clock.now() + milliseconds
    while true {
      var entry = pollfd(fd: descriptor.number, events: CShort(POLLIN), revents: 0)
      let rest = milliseconds < 0 ? -1 : max(0, deadline - Clock.now())
      let ready = poll(&entry, 1, CInt(clamping: rest))
      if ready > 0 { return receive(limit: limit) }
      if ready == 0 { return .nothing }
      if errno != EINTR { return .ended }
    }
  }

  /// Sends the reason and refuses all messages. The other process gets the reason, also if it has sent some: the kernel
  /// discards what was sent to it if a message is unread at the end.
  package borrowing func refuse(_ reason: String) {
    try? send(Array(reason.utf8))
    endReceiving()
    while case .message = receive(limit: 1_024) {}
  }

  /// Refuses further messages of the other process; its next one fails. Those that were sent can still be received.
  package borrowing func endReceiving() {
    try? Kernel.shutdown(descriptor.number, CInt(SHUT_RD))
  }
}
