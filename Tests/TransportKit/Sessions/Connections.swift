// Connections: how a rig makes the connections of a session. Each first number is the driver's, the second one the
// script's.

import Glibc

enum Connections {
  static func socketPair() -> (CInt, CInt) {
    var ends: (CInt, CInt) = (-1, -1)
    let kind = CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue)
    let isMade = withUnsafeMutableBytes(of: &ends) {
      socketpair(AF_UNIX, kind, 0, $0.baseAddress!.assumingMemoryBound(to: CInt.self)) == 0
    }
    precondition(isMade, "socketpair: \(String(cString: strerror(errno)))")
    return ends
  }

  /// Makes the buffers of sockets small, so that they are soon full.
  static func limitBuffers(of numbers: [CInt], to octets: CInt) {
    var size = octets
    for number in numbers {
      for option in [SO_SNDBUF, SO_RCVBUF] {
        _ = setsockopt(number, SOL_SOCKET, option, &size, socklen_t(MemoryLayout<CInt>.size))
      }
    }
  }

  /// A pipe: its reading and its writing end.
  static func pipe() -> (CInt, CInt) {
    var ends: (CInt, CInt) = (-1, -1)
    let isMade = withUnsafeMutableBytes(of: &ends) {
      Glibc.pipe($0.baseAddress!.assumingMemoryBound(to: CInt.self)) == 0
    }
    precondition(isMade, "pipe: \(String(cString: strerror(errno)))")
    return ends
  }

  /// A TCP connection over the loopback.
  static func tcp() -> (CInt, CInt) {
    let client = socket(AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
    var address = listener.address
    let isConnected = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(client, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
    precondition(isConnected, "connect: \(String(cString: strerror(errno)))")
    return (accept(listener.number, nil, nil), client)
  }

  /// Makes the listener, which stays: not for the first connection to do, in the middle of a count.
  static func tcpIsReady() { _ = listener }

  /// One listener for all: a new one each time would use the ports up.
  private static let listener: (number: CInt, address: sockaddr_in) = {
    let number = socket(AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isListening = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(number, $0, length) == 0 && listen(number, 16) == 0 && getsockname(number, $0, &length) == 0
      }
    }
    precondition(isListening, "listen: \(String(cString: strerror(errno)))")
    return (number, address)
  }()
}
