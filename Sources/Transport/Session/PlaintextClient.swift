// PlaintextClient: the client's connection before TLS: one socket, or the two descriptors 0 and 1 from inetd.
//
// If the input allows peeking, reading is peek, then take. Otherwise (a pipe, a terminal) one octet is read at a time:
// only the session knows where the clear text ends, and an octet read beyond that could not be put back.

import Glibc

/// The client's connection in clear, owned.
public struct PlaintextClient: ~Copyable {
  private var input: OctetStream
  private var output: OctetStream?

  /// Creates a connection over one socket.
  public init(socket: consuming Descriptor) throws(SystemError) {
    input = try OctetStream(socket)
    output = nil
  }

  /// Creates a connection over a socket that was accepted.
  package init(accepted socket: consuming Descriptor) {
    input = OctetStream(socket: socket)
    output = nil
  }

  /// Creates a connection over two descriptors, which may refer to the same object.
  public init(input: consuming Descriptor, output: consuming Descriptor) throws(SystemError) {
    let first = try OctetStream(input)
    let second = try OctetStream(output)
    self.input = first
    self.output = consume second
  }

  /// The descriptors to poll.
  var inputNumber: CInt { mutating get { input.descriptor.number } }
  var outputNumber: CInt { mutating get { output?.number() ?? input.descriptor.number } }

  /// True if octets can be peeked at before they are taken.
  var canPeek: Bool { mutating get { input.canPeek } }

  /// Peeks at the waiting octets. If `canPeek` is false, takes the first of them.
  mutating func show(in buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    if input.canPeek { return input.peek(into: buffer) }
    return input.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer.prefix(1)))
  }

  /// After a `show` that has found nothing, although poll has reported input, see `Descriptor.dropUrgentOctet`.
  mutating func dropUrgentOctet() throws(SystemError) {
    if input.canPeek { try input.descriptor.dropUrgentOctet() }
  }

  /// Takes octets that were shown.
  mutating func take(_ count: Int, from buffer: UnsafeMutableRawBufferPointer) throws(SystemError) {
    if input.canPeek { try input.take(exactly: count, into: buffer) }
  }

  /// For an input that does not allow peeking: reports whether only its end is left.
  mutating func lookForEnd() -> IOResult {
    do {
      let events = try Kernel.pollNow(input.descriptor.number, CInt(POLLIN))
      if events & CInt(POLLIN) != 0 { return .moved(1) }
      return events & CInt(POLLHUP | POLLERR) != 0 ? .ended : .wouldBlock
    } catch {
      return .failed(error)
    }
  }

  /// Makes the connection blocking for a TLS helper, see `Descriptor.clearNonBlockingForHandoff`.
  ///
  /// - Returns: true if the connection was non-blocking, which the caller logs.
  public mutating func clearNonBlockingForHandoff() throws(SystemError) -> Bool {
    let isInputCleared = try input.descriptor.clearNonBlockingForHandoff()
    let isOutputCleared = try output?.clearNonBlocking() ?? false
    return isInputCleared || isOutputCleared
  }

  mutating func read(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    input.read(into: buffer)
  }

  mutating func write(_ octets: UnsafeRawBufferPointer) -> IOResult {
    output?.write(octets) ?? input.write(octets)
  }

  /// Ends the sending half: shutdown for a socket, close for a pipe.
  mutating func shutdownSending() {
    if output != nil {
      output?.shutdownSending()
      output = nil
    } else {
      input.shutdownSending()
    }
  }

  /// The socket, for the TLS layer; nil if there are two descriptors.
  public consuming func takeSocket() -> Descriptor? {
    output == nil ? input.takeDescriptor() : nil
  }
}

extension OctetStream {
  fileprivate mutating func number() -> CInt { descriptor.number }

  fileprivate mutating func clearNonBlocking() throws(SystemError) -> Bool {
    try descriptor.clearNonBlockingForHandoff()
  }

  fileprivate mutating func shutdownSending() {
    // If the connection is already gone, there is nothing to end.
    if kind == .socket { try? descriptor.shutdownSending() }
  }

  fileprivate consuming func takeDescriptor() -> Descriptor { descriptor }
}
