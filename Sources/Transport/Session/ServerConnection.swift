// ServerConnection: the socket to a server, which nobody else reads or writes through.

import Glibc

/// The driver's end of the connection to a server, owned.
struct ServerConnection: ~Copyable {
  private let socket: Descriptor

  init(_ socket: consuming Descriptor) {
    self.socket = socket
  }

  // All of these are mutating in form only: an Optional of a noncopyable value lends its payload to nothing else.

  var number: CInt { mutating get { socket.number } }

  mutating func peek(into buffer: UnsafeMutableRawBufferPointer) -> IOResult { socket.peek(into: buffer) }

  mutating func receive(into buffer: UnsafeMutableRawBufferPointer) -> IOResult { socket.receive(into: buffer) }

  mutating func take(_ count: Int, from buffer: UnsafeMutableRawBufferPointer) throws(SystemError) {
    try socket.take(exactly: count, into: buffer)
  }

  mutating func send(_ octets: UnsafeRawBufferPointer) -> IOResult { socket.send(octets) }

  /// Ends the sending half. A server that is gone already has nothing left to end.
  mutating func shutdownSending() { try? socket.shutdownSending() }

  /// Whether the server has closed both directions: it takes nothing more either.
  mutating func hasHungUp() -> Bool {
    guard let events = try? Kernel.pollNow(socket.number, 0) else { return true }
    return events & CInt(POLLHUP | POLLERR) != 0
  }
}
