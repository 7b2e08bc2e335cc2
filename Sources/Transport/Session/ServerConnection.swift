// ServerConnection: the socket to a server. Nobody else reads or writes through its description.

import Glibc

/// The driver's end of the connection to a server, owned.
struct ServerConnection: ~Copyable {
  private let socket: Descriptor

  init(_ socket: consuming Descriptor) {
    self.socket = socket
  }

  // All of these are mutating only because an Optional of a noncopyable value gives access to its payload in no other
  // way.

  var number: CInt { mutating get { socket.number } }

  mutating func peek(into buffer: UnsafeMutableRawBufferPointer) -> IOResult { socket.peek(into: buffer) }

  mutating func receive(into buffer: UnsafeMutableRawBufferPointer) -> IOResult { socket.receive(into: buffer) }

  mutating func send(_ octets: UnsafeRawBufferPointer) -> IOResult { socket.send(octets) }

  /// Ends the sending half. If the server is already gone, there is nothing to end.
  mutating func shutdownSending() { try? socket.shutdownSending() }

  /// True if the server has closed both directions: it accepts no more output either.
  mutating func hasHungUp() -> Bool {
    guard let events = try? Kernel.pollNow(socket.number, 0) else { return true }
    return events & CInt(POLLHUP | POLLERR) != 0
  }
}
