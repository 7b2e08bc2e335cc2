// TestListener: TCP connections over the loopback whose server's end a test can give away.

import CKernel
import Glibc

/// A listening socket on a free port of the loopback.
final class TestListener {
  let port: UInt16
  private let socket = TestListener.socket()
  private var address = sockaddr_in()

  init() throws {
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var address = self.address
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let number = socket.number
    let isListening = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(number, $0, length) == 0 && listen(number, 16) == 0 && getsockname(number, $0, &length) == 0
      }
    }
    guard isListening else { throw Failure("no port: \(String(cString: strerror(errno)))") }
    self.address = address
    port = UInt16(bigEndian: address.sin_port)
  }

  /// The next client's connection, blocking as accept(2) makes it.
  func accept() throws -> TestDescriptor {
    var entry = pollfd(fd: socket.number, events: CShort(POLLIN), revents: 0)
    guard poll(&entry, 1, CInt(Deadline.seconds * 1000)) == 1 else { throw Failure("no client comes") }
    let connection = TestDescriptor(Glibc.accept(socket.number, nil, nil))
    _ = fcntl(connection.number, F_SETFD, FD_CLOEXEC)
    return connection
  }

  /// A new connection: the client's end and the server's.
  ///
  /// - Parameter receiveBuffer: the octets that the client's kernel takes unread; nil for as many as it likes.
  func connection(receiveBuffer: CInt? = nil) throws -> (client: TestDescriptor, server: TestDescriptor) {
    let client = TestListener.socket()
    if var size = receiveBuffer {
      setsockopt(client.number, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<CInt>.size))
    }
    var address = address
    let isConnected = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(client.number, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
    guard isConnected else { throw Failure("no connection: \(String(cString: strerror(errno)))") }
    return (client, try accept())
  }

  private static func socket() -> TestDescriptor {
    TestDescriptor(Glibc.socket(AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0))
  }
}
