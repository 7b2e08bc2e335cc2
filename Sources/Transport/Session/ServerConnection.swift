// ServerConnection: the socket to a server, or a learnt server in its place. Nobody else reads or writes through the socket's
// description.

import Glibc

/// The driver's end of the connection to a server, owned.
struct ServerConnection: ~Copyable {
  /// nil for a learnt server.
  private var socket: Descriptor?
  private let learnt: LearntServer?

  init(_ socket: consuming Descriptor) {
    self.socket = consume socket
    learnt = nil
  }

  init(_ learnt: LearntServer) {
    socket = nil
    self.learnt = learnt
  }

  // All of these are mutating only because an Optional of a noncopyable value gives access to its payload in no other
  // way.

  /// nil for a learnt server: there is nothing to poll.
  var number: CInt? { mutating get { socket?.number } }

  /// What the server that takes the place of a learnt one has to repeat, once a server is needed. nil otherwise.
  var neededReplay: ServerReplay? { mutating get { learnt?.needsServer == true ? learnt?.replay : nil } }

  /// True if the learnt server has octets to read, or has ended: no event reports them.
  var hasPending: Bool { mutating get { learnt?.hasPending == true } }

  mutating func peek(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    socket?.peek(into: buffer) ?? learnt?.peek(into: buffer) ?? .ended
  }

  mutating func receive(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    socket?.receive(into: buffer) ?? learnt?.receive(into: buffer) ?? .ended
  }

  mutating func send(_ octets: UnsafeRawBufferPointer) -> IOResult { socket?.send(octets) ?? learnt?.send(octets) ?? .wouldBlock }

  /// Ends the sending half. If the server is already gone, there is nothing to end.
  mutating func shutdownSending() { try? socket?.shutdownSending() }

  /// True if the server has closed both directions: it accepts no more output either.
  mutating func hasHungUp() -> Bool {
    guard let number, let events = try? Kernel.pollNow(number, 0) else { return true }
    return events & CInt(POLLHUP | POLLERR) != 0
  }
}
