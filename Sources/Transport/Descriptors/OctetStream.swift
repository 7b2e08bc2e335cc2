// OctetStream: one interface for sockets, pipes, terminals and files on standard input and output.
//
// A program that is started by another cannot choose what its descriptors 0 and 1 are. This type determines the kind
// once and then reads and writes without waiting, in the way that each kind allows, never with a status flag:
//
//   socket      recv and send with MSG_DONTWAIT
//   pipe        preadv2 and pwritev2 with RWF_NOWAIT; on kernels without it poll, then one call of at most PIPE_BUF
//   terminal    poll, then one call
//   file        one call
//
// A write to a pipe without a reader raises SIGPIPE, which no flag can prevent: programs ignore that signal.

import Glibc

/// A descriptor of any kind, read and written without waiting.
public struct OctetStream: ~Copyable, Sendable {
  /// The descriptor that the stream owns.
  public let descriptor: Descriptor

  /// The kind of object that it is open on.
  public let kind: DescriptorKind

  /// False after the kernel has rejected RWF_NOWAIT here.
  private var nowait = true

  /// Takes ownership of a descriptor and determines its kind. On failure the descriptor is closed.
  public init(_ descriptor: consuming Descriptor) throws(SystemError) {
    self.kind = try descriptor.kind()
    self.descriptor = descriptor
  }

  /// Takes ownership of a descriptor that is known to be a socket.
  init(socket: consuming Descriptor) {
    kind = .socket
    descriptor = socket
  }

  /// True if `peek` and `take` work. If false, read one octet per call while octets after a line may belong to somebody
  /// else.
  public var canPeek: Bool { kind == .socket }

  /// Peeks at the waiting octets and leaves them in place. `.failed` with ENOTSOCK if that is impossible, see
  /// `canPeek`.
  package borrowing func peek(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    canPeek ? descriptor.peek(into: buffer) : .failed(SystemError("recv", ENOTSOCK))
  }

  /// Takes exactly the octets that a peek has shown, see `Descriptor.take`.
  package borrowing func take(
    exactly count: Int, into buffer: UnsafeMutableRawBufferPointer
  ) throws(SystemError) {
    try descriptor.take(exactly: count, into: buffer)
  }

  /// Reads what is available, at most the buffer's size.
  package mutating func read(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    switch kind {
    case .socket:
      return descriptor.receive(into: buffer)
    case .pipe where nowait:
      let answer = IOResult(reading: buffer.count) { () throws(SystemError) in
        try Kernel.readNoWait(descriptor.number, buffer)
      }
      guard OctetStream.isUnsupported(answer) else { return answer }
      nowait = false
      return readWhenReady(into: buffer)
    case .pipe, .terminal:
      return readWhenReady(into: buffer)
    case .file:
      return IOResult(reading: buffer.count) { () throws(SystemError) in
        try Kernel.read(descriptor.number, buffer)
      }
    }
  }

  /// Writes what the kernel accepts, at most what was given.
  package mutating func write(_ octets: UnsafeRawBufferPointer) -> IOResult {
    switch kind {
    case .socket:
      return descriptor.send(octets)
    case .pipe where nowait:
      let answer = IOResult(writing: octets.count) { () throws(SystemError) in
        try Kernel.writeNoWait(descriptor.number, octets)
      }
      guard OctetStream.isUnsupported(answer) else { return answer }
      nowait = false
      return writeWhenReady(octets)
    case .pipe, .terminal:
      return writeWhenReady(octets)
    case .file:
      return IOResult(writing: octets.count) { () throws(SystemError) in
        try Kernel.write(descriptor.number, octets)
      }
    }
  }

  /// poll, then one read: a read from a readable pipe or terminal does not wait.
  private borrowing func readWhenReady(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    do {
      let ready = try Kernel.pollNow(descriptor.number, CInt(POLLIN))
      guard ready != 0 else { return .wouldBlock }
    } catch {
      return .failed(error)
    }
    return IOResult(reading: buffer.count) { () throws(SystemError) in
      try Kernel.read(descriptor.number, buffer)
    }
  }

  /// poll, then one write of at most PIPE_BUF octets: a writable pipe accepts that many at once.
  private borrowing func writeWhenReady(_ octets: UnsafeRawBufferPointer) -> IOResult {
    do {
      let ready = try Kernel.pollNow(descriptor.number, CInt(POLLOUT))
      guard ready != 0 else { return .wouldBlock }
    } catch {
      return .failed(error)
    }
    let first = UnsafeRawBufferPointer(rebasing: octets.prefix(4096))
    return IOResult(writing: first.count) { () throws(SystemError) in
      try Kernel.write(descriptor.number, first)
    }
  }

  private static func isUnsupported(_ answer: IOResult) -> Bool {
    guard case .failed(let error) = answer else { return false }
    return error.code == EOPNOTSUPP || error.code == ENOSYS
  }
}
