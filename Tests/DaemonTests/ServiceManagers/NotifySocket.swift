// NotifySocket: the service manager's end of sd_notify(3).

import CKernel
import Foundation
import Glibc

/// A datagram socket at a path, or with an abstract name (`@`).
final class NotifySocket {
  private let socket = TestDescriptor(Glibc.socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0))
  var number: CInt { socket.number }

  init(_ path: String) throws {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let octets = Array(path.utf8)
    withUnsafeMutableBytes(of: &address.sun_path) {
      $0.copyBytes(from: octets)
      if octets[0] == UInt8(ascii: "@") { $0[0] = 0 }
    }
    let length = socklen_t(MemoryLayout<sa_family_t>.size + octets.count)
    let isBound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(socket.number, $0, length) == 0 }
    }
    guard isBound else { throw Failure("bind: \(String(cString: strerror(errno)))") }
  }

  /// The next datagram that is not the given one, of which at most a thousand may come before.
  func message(_ other: String = "") throws -> String {
    for _ in 0..<1000 {
      let text = String(decoding: try socket.read(), as: UTF8.self)
      if text != other { return text }
    }
    throw Failure("nothing but \(other)")
  }

  /// True if a datagram waits.
  var hasMessage: Bool {
    var octet: UInt8 = 0
    return recv(socket.number, &octet, 1, CInt(MSG_DONTWAIT | MSG_PEEK)) >= 0
  }

  func close() { socket.close() }
}
