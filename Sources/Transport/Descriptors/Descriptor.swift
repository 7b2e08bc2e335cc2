// Descriptor: the sole owner of a file descriptor.
//
// A value of this type is the only thing that closes its number, exactly once, when the value ends. It cannot be
// copied; whoever takes it over consumes it, and a use after that does not compile. Every descriptor made in this
// layer is close-on-exec.

import Glibc

/// The sole owner of a file descriptor, which it closes when it ends.
///
/// ```swift
/// let socket = Descriptor(adopting: accept(listener, nil, nil))
/// driver.handOver(socket)          // consuming: `socket` can be used no more
/// ```
public struct Descriptor: ~Copyable, Sendable {
  /// The number, for poll and for messages. Do not close it.
  public let number: CInt

  /// Takes over an open descriptor, 0 or above, that nobody else will close.
  public init(adopting number: CInt) {
    precondition(number >= 0, "a descriptor's number is 0 or above")
    self.number = number
  }

  deinit {
    Kernel.close(number)
  }

  /// Gives the number away, open; whoever gets it closes it.
  public consuming func release() -> CInt {
    let number = self.number
    discard self
    return number
  }

  /// A second descriptor for the same open file description, close-on-exec, its number not below `least`.
  ///
  /// Both share position and status flags. EMFILE when the process has no number left.
  public borrowing func duplicate(notBelow least: CInt = 3) throws(SystemError) -> Descriptor {
    Descriptor(adopting: try Kernel.duplicate(number, above: least))
  }

  /// Sets or clears close-on-exec. That flag is the descriptor's own, not the shared description's.
  public borrowing func setCloseOnExec(_ on: Bool) throws(SystemError) {
    let flags = try Kernel.control(number, F_GETFD)
    let wanted = on ? flags | FD_CLOEXEC : flags & ~FD_CLOEXEC
    if wanted != flags { _ = try Kernel.control(number, F_SETFD, wanted) }
  }

  /// What kind of thing the descriptor is open on.
  public borrowing func kind() throws(SystemError) -> DescriptorKind {
    switch try Kernel.status(number).st_mode & S_IFMT {
    case S_IFSOCK: .socket
    case S_IFIFO: .pipe
    case S_IFCHR: .terminal
    default: .file
    }
  }
}

/// What a descriptor is open on, as far as it matters for reading and writing without waiting.
public enum DescriptorKind: Hashable, Sendable {
  /// A stream socket: it can be peeked at, and each call can ask not to wait.
  case socket
  /// A pipe or FIFO: it cannot be peeked at.
  case pipe
  /// A terminal or another character device.
  case terminal
  /// A regular file, which never makes a caller wait.
  case file
}

/// Two descriptors that belong together. The names fit a pipe; the ends of a socket pair are alike.
public struct DescriptorPair: ~Copyable, Sendable {
  /// The reading end of a pipe, or one end of a socket pair.
  public var first: Descriptor
  /// The writing end of a pipe, or the other end of a socket pair.
  public var second: Descriptor

  /// Takes the pair apart.
  public consuming func split(_ body: (consuming Descriptor, consuming Descriptor) -> Void) {
    body(first, second)
  }

  /// A pipe, both ends close-on-exec and blocking.
  public static func pipe() throws(SystemError) -> DescriptorPair {
    let ends = try Kernel.pipe()
    return DescriptorPair(first: Descriptor(adopting: ends.0), second: Descriptor(adopting: ends.1))
  }

  /// A pair of connected Unix stream sockets, both close-on-exec and blocking.
  public static func sockets() throws(SystemError) -> DescriptorPair {
    let ends = try Kernel.socketPair()
    return DescriptorPair(first: Descriptor(adopting: ends.0), second: Descriptor(adopting: ends.1))
  }
}

extension DescriptorPair {
  /// The first one; the second is closed.
  public consuming func takeFirst() -> Descriptor { first }
}
