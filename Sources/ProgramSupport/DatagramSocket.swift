// DatagramSocket: a Unix datagram socket to a log or a supervisor. No call waits.

import CKernel
import Glibc
public import Transport

/// Creates and connects datagram sockets.
public enum DatagramSocket {
  /// Creates a socket, not connected yet. The description is our own: it is non-blocking.
  public static func create() throws(SystemError) -> Descriptor {
    Descriptor(adopting: try Kernel.socket(AF_UNIX, CInt(SOCK_NONBLOCK.rawValue), type: SOCK_DGRAM))
  }

  /// Connects a socket to a path. A path that begins with `@` is a name in Linux's abstract space, see unix(7).
  ///
  /// - Throws: ENOENT or ECONNREFUSED if no process listens; ENAMETOOLONG.
  public static func connect(_ socket: borrowing Descriptor, to path: String) throws(SystemError) {
    var (address, length) = try address(of: path)
    try withPointer(to: &address) { (pointer) throws(SystemError) in try Kernel.connect(socket.number, pointer, length) }
  }

  /// Sends one datagram.
  ///
  /// - Parameter path: the reader's path, as for `connect`; nil if the socket is connected.
  /// - Throws: EAGAIN if the reader's queue is full; ECONNREFUSED, ENOTCONN or ENOENT if the reader is gone.
  public static func send(_ octets: [UInt8], to socket: borrowing Descriptor, at path: String? = nil) throws(SystemError) {
    let number = socket.number
    let flags = CInt(MSG_DONTWAIT | MSG_NOSIGNAL)
    var (address, length) = try path.map { (path) throws(SystemError) in try self.address(of: path) } ?? (sockaddr_un(), 0)
    try withPointer(to: &address) { (pointer) throws(SystemError) in
      let sent: Result<Void, SystemError> = octets.withUnsafeBytes { buffer in
        do throws(SystemError) {
          _ = length > 0 ? try Kernel.send(number, buffer, flags, to: pointer, length) : try Kernel.send(number, buffer, flags)
          return .success(())
        } catch {
          return .failure(error)
        }
      }
      try sent.get()
    }
  }

  /// The address, and how many of its octets count.
  private static func address(of path: String) throws(SystemError) -> (sockaddr_un, socklen_t) {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let isAbstract = path.hasPrefix("@")
    let octets: [UInt8] = isAbstract ? [0] + path.utf8.dropFirst() : Array(path.utf8) + [0]
    guard octets.count > 1, octets.count <= MemoryLayout.size(ofValue: address.sun_path) else {
      throw SystemError("connect", ENAMETOOLONG)
    }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: octets) }
    // The length of an abstract name counts: a zero octet after it would be a part of it.
    return (address, socklen_t(MemoryLayout<sa_family_t>.size + octets.count))
  }

  // The closures of the standard library do not pass a typed error through.
  private static func withPointer(
    to address: UnsafeMutablePointer<sockaddr_un>, _ body: (UnsafePointer<sockaddr>) throws(SystemError) -> Void
  ) throws(SystemError) {
    try body(UnsafeRawPointer(address).assumingMemoryBound(to: sockaddr.self))
  }
}
