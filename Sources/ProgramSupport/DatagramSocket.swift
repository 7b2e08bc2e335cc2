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
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let isAbstract = path.hasPrefix("@")
    let octets: [UInt8] = isAbstract ? [0] + path.utf8.dropFirst() : Array(path.utf8) + [0]
    guard octets.count > 1, octets.count <= MemoryLayout.size(ofValue: address.sun_path) else {
      throw SystemError("connect", ENAMETOOLONG)
    }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: octets) }
    // The length of an abstract name counts: a zero octet after it would be a part of it.
    let length = socklen_t(MemoryLayout<sa_family_t>.size + octets.count)
    try connect(socket.number, &address, length)
  }

  // The closures of the standard library do not pass a typed error through.
  private static func connect(
    _ number: CInt, _ address: UnsafeMutablePointer<sockaddr_un>, _ length: socklen_t
  ) throws(SystemError) {
    try Kernel.connect(number, UnsafeRawPointer(address).assumingMemoryBound(to: sockaddr.self), length)
  }

  /// Sends one datagram.
  ///
  /// - Throws: EAGAIN if the reader's queue is full; ECONNREFUSED or ENOTCONN if the reader is gone.
  public static func send(_ octets: [UInt8], to socket: borrowing Descriptor) throws(SystemError) {
    let number = socket.number
    let sent: Result<Void, SystemError> = octets.withUnsafeBytes { buffer in
      do throws(SystemError) {
        _ = try Kernel.send(number, buffer, CInt(MSG_DONTWAIT | MSG_NOSIGNAL))
        return .success(())
      } catch {
        return .failure(error)
      }
    }
    try sent.get()
  }
}
