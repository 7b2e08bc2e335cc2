// ReservedPort: a port of the loopback that a program of the test can listen on, and that nobody else is given.
//
// A port that was found with a socket that is then closed may be given to another process before the program of the test binds its
// own. The socket stays open, and does not listen: connections are refused until the program listens. The kernel allows a second
// socket on the port because both have SO_REUSEADDR, as those of all servers have; it chooses the port for nobody.

import CKernel
import Foundation
import Glibc
import XCTest

final class ReservedPort {
  let number: UInt16
  private var descriptor: CInt

  /// - Parameter hasBothFamilies: true for all addresses of IPv4 and of IPv6. Else another process can have the port of `[::1]`.
  init(hasBothFamilies: Bool = false) throws {
    descriptor = socket(hasBothFamilies ? AF_INET6 : AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
    var on: CInt = 1
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<CInt>.size))
    let port: in_port_t?
    if hasBothFamilies {
      var address = sockaddr_in6()
      address.sin6_family = sa_family_t(AF_INET6)
      port = ReservedPort.bound(descriptor, &address)?.sin6_port
    } else {
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
      port = ReservedPort.bound(descriptor, &address)?.sin_port
    }
    number = UInt16(bigEndian: port ?? 0)
    guard port != nil else { throw Failure("no port: \(String(cString: strerror(errno)))") }
  }

  /// The address with the port that the kernel has chosen; nil if that failed.
  private static func bound<Address>(_ descriptor: CInt, _ address: inout Address) -> Address? {
    var length = socklen_t(MemoryLayout<Address>.size)
    let isBound = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
      }
    }
    return isBound ? address : nil
  }

  deinit { release() }

  /// Gives the port back.
  func release() {
    if descriptor >= 0 { close(descriptor) }
    descriptor = -1
  }
}

extension XCTestCase {
  /// A port of the loopback that is the test's until it ends.
  func freePort(hasBothFamilies: Bool = false) throws -> UInt16 {
    let port = try ReservedPort(hasBothFamilies: hasBothFamilies)
    // XCTest keeps a block after it has run, and the port with it.
    addTeardownBlock { port.release() }
    return port.number
  }
}
