// Descriptor: the only owner of a file descriptor.
//
// Contract: only this value closes its number, exactly once, when the value ends. It cannot be copied. Passing it on
// consumes it, and a use after that does not compile. Every descriptor created in this layer is close-on-exec.

import Glibc

/// The only owner of a file descriptor, which it closes when it ends.
///
/// ```swift
/// let number = accept(listener, nil, nil)
/// guard number >= 0 else { return }                   // it failed: there is nothing to own
/// let socket = Descriptor(adopting: number)
/// let client = try PlaintextClient(socket: socket)    // consuming: `socket` can be used no more
/// ```
public struct Descriptor: ~Copyable, Sendable {
  /// The number, for poll and for messages. Do not close it.
  public let number: CInt

  /// Takes ownership of an open descriptor, 0 or above, that nobody else will close. Traps for a negative number, which is the
  /// result of a call that failed: check it before.
  public init(adopting number: CInt) {
    precondition(number >= 0, "a descriptor's number is 0 or above")
    self.number = number
  }

  deinit {
    Kernel.close(number)
  }

  /// Gives up ownership without closing; the caller must close the number.
  public consuming func release() -> CInt {
    let number = self.number
    discard self
    return number
  }

  /// A second descriptor for the same open file description, close-on-exec, its number at least `least`.
  ///
  /// Both share position and status flags. EMFILE if the process has no free number.
  package borrowing func duplicate(notBelow least: CInt = 3) throws(SystemError) -> Descriptor {
    Descriptor(adopting: try Kernel.duplicate(number, above: least))
  }

  /// Sets or clears close-on-exec. That flag belongs to the descriptor, not to the shared description.
  package borrowing func setCloseOnExec(_ on: Bool) throws(SystemError) {
    let flags = try Kernel.control(number, F_GETFD)
    let wanted = on ? flags | FD_CLOEXEC : flags & ~FD_CLOEXEC
    if wanted != flags { _ = try Kernel.control(number, F_SETFD, wanted) }
  }

  /// The kind of object that the descriptor is open on.
  package borrowing func kind() throws(SystemError) -> DescriptorKind {
    switch try Kernel.status(number).st_mode & S_IFMT {
    case S_IFSOCK: .socket
    case S_IFIFO: .pipe
    case S_IFCHR: .terminal
    default: .file
    }
  }
}

/// The kinds of objects, as far as they differ for reading and writing without waiting.
public enum DescriptorKind: Hashable, Sendable {
  /// A stream socket: it supports peeking, and each call can request not to wait.
  case socket
  /// A pipe or FIFO: it does not support peeking.
  case pipe
  /// A terminal or another character device.
  case terminal
  /// A regular file, on which no call waits.
  case file
}

/// Two descriptors that belong together. The names are those of a pipe; the ends of a socket pair are equal.
public struct DescriptorPair: ~Copyable, Sendable {
  /// The reading end of a pipe, or one end of a socket pair.
  public var first: Descriptor
  /// The writing end of a pipe, or the other end of a socket pair.
  public var second: Descriptor

  /// Passes both descriptors to `body`, which owns them.
  public consuming func split(_ body: (consuming Descriptor, consuming Descriptor) -> Void) {
    body(first, second)
  }

  /// A pipe, both ends close-on-exec and blocking.
  package static func pipe() throws(SystemError) -> DescriptorPair {
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
  /// The first descriptor; the second is closed.
  public consuming func takeFirst() -> Descriptor { first }

  /// The first descriptor; the second is passed to `body`, which owns it.
  package consuming func takeFirst<Failure: Error>(
    passing body: (consuming Descriptor) throws(Failure) -> Void
  ) throws(Failure) -> Descriptor {
    try body(second)
    return first
  }
}
