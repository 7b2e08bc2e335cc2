// OutgoingConnection: starts a connection without waiting for it, from this machine's address or from another one (IP_TRANSPARENT).
//
// The description is our own, so it is non-blocking from its creation.
// Failure: a SystemError of the call that failed at once. A later failure is the socket's `connectionError`.

import CKernel
import Glibc

extension SocketAddress {
  /// Starts a connection to this address without waiting for it. The socket is our own, close-on-exec and non-blocking,
  /// with TCP_NODELAY.
  ///
  /// Poll the returned socket for writing, then read `connectionError`.
  ///
  /// - Parameter source: an IP address that the connection comes from, although it is not this machine's (IP_TRANSPARENT, see
  ///   ip(7)); the kernel chooses the port. nil: an address of this machine.
  /// - Throws: an immediate failure of socket(2) or connect(2): ECONNREFUSED, ENETUNREACH, EAGAIN (a Unix socket whose
  ///   queue is full) and others. With a source also EPERM (it needs CAP_NET_ADMIN) and EAFNOSUPPORT (another family).
  package func connect(from source: SocketAddress? = nil) throws(SystemError) -> Descriptor {
    let descriptor = Descriptor(adopting: try Kernel.socket(family, CInt(SOCK_NONBLOCK.rawValue)))
    if case .unix = self {} else { try descriptor.sendWithoutDelay() }
    if let source {
      guard source.family == family, family != AF_UNIX else { throw SystemError("bind", EAFNOSUPPORT) }
      try descriptor.allowForeignSource(family)
      try source.withPort(0).withKernelForm { (form, length) throws(SystemError) in
        try Kernel.bind(descriptor.number, form, length)
      }
    }
    do {
      try withKernelForm { (form, length) throws(SystemError) in
        try Kernel.connect(descriptor.number, form, length)
      }
    } catch {
      guard error.code == EINPROGRESS else { throw error }
    }
    return descriptor
  }
}

extension SocketAddress {
  /// True if both are IPv4, or both are IPv6, or both are Unix sockets.
  package func hasSameFamily(as other: SocketAddress) -> Bool { family == other.family }

  fileprivate func withPort(_ port: UInt16) -> SocketAddress {
    switch self {
    case .ipv4(let octets, _): .ipv4(octets, port: port)
    case .ipv6(let octets, _, let scope): .ipv6(octets, port: port, scope: scope)
    case .unix: self
    }
  }

  /// Checks that this process may connect from addresses that are not this machine's. EPERM if not.
  package static func checkForeignSource() throws(SystemError) {
    try Descriptor(adopting: try Kernel.socket(AF_INET, CInt(SOCK_NONBLOCK.rawValue))).allowForeignSource(AF_INET)
  }
}

extension Descriptor {
  /// IP_TRANSPARENT or IPV6_TRANSPARENT.
  fileprivate borrowing func allowForeignSource(_ family: CInt) throws(SystemError) {
    if family == AF_INET {
      try Kernel.setOption(number, CInt(IPPROTO_IP), KERNEL_IP_TRANSPARENT, 1)
    } else {
      try Kernel.setOption(number, CInt(IPPROTO_IPV6), KERNEL_IPV6_TRANSPARENT, 1)
    }
  }
}
