// PlaintextClient: the client's connection before TLS: one socket, or the two descriptors that inetd calls 0 and 1.
//
// Reading is peek-then-take where the input can be peeked at. Where it cannot (a pipe, a terminal), one octet a read:
// it is the session that says where the clear text ends, and an octet too many could not be put back.

import Glibc

/// The client's connection in clear, owned.
public struct PlaintextClient: ~Copyable {
  private var input: OctetStream
  private var output: OctetStream?

  /// A connection over one socket.
  public init(socket: consuming Descriptor) throws(SystemError) {
    input = try OctetStream(socket)
    output = nil
  }

  /// A connection over two descriptors, which may be the same thing opened twice.
  public init(input: consuming Descriptor, output: consuming Descriptor) throws(SystemError) {
    let first = try OctetStream(input)
    let second = try OctetStream(output)
    self.input = first
    self.output = consume second
  }

  /// The numbers to poll.
  var inputNumber: CInt { mutating get { input.descriptor.number } }
  var outputNumber: CInt { mutating get { output?.number() ?? input.descriptor.number } }

  /// Whether octets can be looked at before they are taken.
  var canPeek: Bool { mutating get { input.canPeek } }

  /// Shows the octets that wait, or (`canPeek` is false) takes the first of them.
  mutating func show(in buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    if input.canPeek { return input.peek(into: buffer) }
    return input.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer.prefix(1)))
  }

  /// Takes octets that were shown.
  mutating func take(_ count: Int, from buffer: UnsafeMutableRawBufferPointer) throws(SystemError) {
    if input.canPeek { try input.take(exactly: count, into: buffer) }
  }

  /// Of an input that cannot be peeked at: whether nothing is left but its end.
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
  /// - Returns: whether it was not, which is to be logged.
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

  /// Ends the sending half: of a socket by shutdown, of a pipe by closing it.
  mutating func shutdownSending() {
    if output != nil {
      output?.shutdownSending()
      output = nil
    } else {
      input.shutdownSending()
    }
  }

  /// The socket, for the TLS layer; nil where there are two descriptors.
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
    // A connection that is gone already has nothing left to end.
    if kind == .socket { try? descriptor.shutdownSending() }
  }

  fileprivate consuming func takeDescriptor() -> Descriptor { descriptor }
}
