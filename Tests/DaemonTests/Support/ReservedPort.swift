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

  init() throws {
    descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
    var on: CInt = 1
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let descriptor = descriptor
    let isBound = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<CInt>.size)) == 0
          && bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
      }
    }
    number = UInt16(bigEndian: address.sin_port)
    guard isBound else { throw Failure("no port: \(String(cString: strerror(errno)))") }
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
  func freePort() throws -> UInt16 {
    let port = try ReservedPort()
    // XCTest keeps a block after it has run, and the port with it.
    addTeardownBlock { port.release() }
    return port.number
  }
}
