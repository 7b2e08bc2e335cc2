// SocketAddress: an address to listen on, to connect to, or of a peer.
//
// The value is IPv4, IPv6 or the path of a Unix socket. It prints in the form that UCSPI programs expect: an
// IPv4-mapped IPv6 address (::ffff:192.0.2.1) prints as the IPv4 address.

import CKernel
import Glibc

/// The address of one end of a stream socket.
package enum SocketAddress: Hashable, Sendable {
  /// Four octets in network order, and a port.
  case ipv4(SIMD4<UInt8>, port: UInt16)
  /// Sixteen octets in network order, a port, and the scope of a link-local address (the interface's index), else 0.
  case ipv6(SIMD16<UInt8>, port: UInt16, scope: UInt32)
  /// The path of a Unix socket; empty for a socket without a name.
  case unix(String)

  /// `0.0.0.0`: all IPv4 addresses of this machine.
  package static func anyIPv4(port: UInt16) -> SocketAddress { .ipv4(SIMD4(repeating: 0), port: port) }

  /// `::`: all IPv6 addresses of this machine. A `Listener` on it accepts IPv4 connections as well.
  package static func any(port: UInt16) -> SocketAddress { .ipv6(SIMD16(repeating: 0), port: port, scope: 0) }

  /// `127.0.0.1`.
  package static func loopback(port: UInt16) -> SocketAddress { .ipv4(SIMD4(127, 0, 0, 1), port: port) }

  /// The port, or nil for a Unix socket.
  package var port: UInt16? {
    switch self {
    case .ipv4(_, let port): port
    case .ipv6(_, let port, _): port
    case .unix: nil
    }
  }

  /// The address of the host without the port, as in `TCPREMOTEIP`: `192.0.2.1`, `2001:db8::1`, or the path of a Unix
  /// socket.
  package var host: String {
    switch unmapped {
    case .ipv4(let octets, _):
      return "\(octets[0]).\(octets[1]).\(octets[2]).\(octets[3])"
    case .ipv6(let octets, _, let scope):
      var octets = octets
      var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
      guard inet_ntop(AF_INET6, &octets, &text, socklen_t(INET6_ADDRSTRLEN)) != nil else { return "" }
      let host = text.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
      return scope == 0 ? host : "\(host)%\(scope)"
    case .unix(let path):
      return path
    }
  }

  /// The same address; an IPv4-mapped IPv6 address becomes the IPv4 address.
  package var unmapped: SocketAddress {
    guard case .ipv6(let octets, let port, _) = self else { return self }
    let prefix: SIMD8<UInt8> = octets.lowHalf
    guard prefix == SIMD8(repeating: 0), octets[8] == 0, octets[9] == 0, octets[10] == 0xff, octets[11] == 0xff
    else { return self }
    return .ipv4(SIMD4(octets[12], octets[13], octets[14], octets[15]), port: port)
  }

  /// The address of a client: an IPv4-mapped one as IPv4, and that of a Unix socket without the name that the client may
  /// have chosen for its end.
  package var ofClient: SocketAddress {
    if case .unix = self { return .unix("") }
    return unmapped
  }

  /// True if only this machine can reach the address: 127.0.0.0/8, ::1 or a Unix socket.
  package var isLoopback: Bool {
    switch unmapped {
    case .ipv4(let octets, _):
      return octets[0] == 127
    case .ipv6(let octets, _, _):
      var one = SIMD16<UInt8>(repeating: 0)
      one[15] = 1
      return octets == one
    case .unix:
      return true
    }
  }
}

extension SocketAddress: CustomStringConvertible {
  /// `192.0.2.1:25`, `[2001:db8::1]:25`, `unix:/run/smtp`.
  package var description: String {
    switch unmapped {
    case .ipv4(_, let port): "\(host):\(port)"
    case .ipv6(_, let port, _): "[\(host)]:\(port)"
    case .unix(let path): "unix:\(path)"
    }
  }
}

// MARK: - The kernel's form

extension SocketAddress {
  /// The address family, for socket(2).
  var family: CInt {
    switch self {
    case .ipv4: AF_INET
    case .ipv6: AF_INET6
    case .unix: AF_UNIX
    }
  }

  /// Passes the address to `body` in the kernel's form. ENAMETOOLONG if the path of a Unix socket is longer than 107
  /// octets.
  func withKernelForm(
    _ body: (UnsafePointer<sockaddr>, socklen_t) throws(SystemError) -> Void
  ) throws(SystemError) {
    var storage = sockaddr_storage()
    let length: Int
    switch self {
    case .ipv4(let octets, let port):
      var form = sockaddr_in()
      form.sin_family = sa_family_t(AF_INET)
      form.sin_port = port.bigEndian
      withUnsafeMutableBytes(of: &form.sin_addr) { $0.storeBytes(of: octets, as: SIMD4<UInt8>.self) }
      length = MemoryLayout<sockaddr_in>.size
      withUnsafeMutableBytes(of: &storage) { $0.storeBytes(of: form, as: sockaddr_in.self) }
    case .ipv6(let octets, let port, let scope):
      var form = sockaddr_in6()
      form.sin6_family = sa_family_t(AF_INET6)
      form.sin6_port = port.bigEndian
      form.sin6_scope_id = scope
      withUnsafeMutableBytes(of: &form.sin6_addr) { $0.storeBytes(of: octets, as: SIMD16<UInt8>.self) }
      length = MemoryLayout<sockaddr_in6>.size
      withUnsafeMutableBytes(of: &storage) { $0.storeBytes(of: form, as: sockaddr_in6.self) }
    case .unix(let path):
      var form = sockaddr_un()
      form.sun_family = sa_family_t(AF_UNIX)
      let octets = Array(path.utf8)
      guard octets.count < MemoryLayout.size(ofValue: form.sun_path) else { throw SystemError("bind", ENAMETOOLONG) }
      withUnsafeMutableBytes(of: &form.sun_path) { $0.copyBytes(from: octets) }
      length = MemoryLayout<sockaddr_un>.size
      withUnsafeMutableBytes(of: &storage) { $0.storeBytes(of: form, as: sockaddr_un.self) }
    }
    // The closures of the standard library do not pass a typed error through. The pointer is therefore made by hand and
    // is valid only in this function.
    try SocketAddress.pointing(at: &storage, length, body)
  }

  private static func pointing(
    at storage: UnsafeMutablePointer<sockaddr_storage>, _ length: Int,
    _ body: (UnsafePointer<sockaddr>, socklen_t) throws(SystemError) -> Void
  ) throws(SystemError) {
    try body(UnsafeRawPointer(storage).assumingMemoryBound(to: sockaddr.self), socklen_t(length))
  }

  /// Reads an address that the kernel writes in `fill`. Returns nil if this type does not know the address family.
  static func filled(
    _ fill: (UnsafeMutablePointer<sockaddr>, inout socklen_t) throws(SystemError) -> Void
  ) throws(SystemError) -> SocketAddress? {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    try filling(&storage, &length, fill)
    return withUnsafeBytes(of: &storage) { read($0, Int(length)) }
  }

  private static func filling(
    _ storage: UnsafeMutablePointer<sockaddr_storage>, _ length: inout socklen_t,
    _ fill: (UnsafeMutablePointer<sockaddr>, inout socklen_t) throws(SystemError) -> Void
  ) throws(SystemError) {
    try fill(UnsafeMutableRawPointer(storage).assumingMemoryBound(to: sockaddr.self), &length)
  }

  /// The address from the first octets of the kernel's form.
  static func read(_ octets: UnsafeRawBufferPointer, _ length: Int) -> SocketAddress? {
    switch CInt(octets.load(as: sockaddr.self).sa_family) {
    case AF_INET:
      let form = octets.load(as: sockaddr_in.self)
      return withUnsafeBytes(of: form.sin_addr) {
        .ipv4($0.load(as: SIMD4<UInt8>.self), port: UInt16(bigEndian: form.sin_port))
      }
    case AF_INET6:
      let form = octets.load(as: sockaddr_in6.self)
      return withUnsafeBytes(of: form.sin6_addr) {
        .ipv6(
          $0.loadUnaligned(as: SIMD16<UInt8>.self), port: UInt16(bigEndian: form.sin6_port),
          scope: form.sin6_scope_id)
      }
    case AF_UNIX:
      let path = octets.prefix(length).dropFirst(MemoryLayout<sa_family_t>.size).prefix { $0 != 0 }
      return .unix(String(decoding: path, as: UTF8.self))
    default:
      return nil
    }
  }
}
