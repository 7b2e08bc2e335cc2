// Listener: a bound, listening socket that accepts connections.
//
// The listening description is our own and is created non-blocking, unless a service manager passed it (InheritedSocket.swift).
// accept4(2) creates an accepted description blocking, and it stays blocking, because it will be shared with a helper or a child.

import CKernel
import Glibc

/// A listening stream socket.
package struct Listener: ~Copyable, Sendable {
  /// The listening socket; poll it for reading.
  package let descriptor: Descriptor

  /// The address that it is bound to. If port 0 was requested, it has the port that the kernel chose.
  package let address: SocketAddress

  /// True if the socket was passed by a service manager, which shares its description: it may be blocking.
  private let isShared: Bool

  init(_ descriptor: consuming Descriptor, _ address: SocketAddress, isShared: Bool) {
    self.descriptor = descriptor
    self.address = address
    self.isShared = isShared
  }

  /// Binds and listens, with SO_REUSEADDR and close-on-exec.
  ///
  /// `SocketAddress.any` accepts IPv4 connections too (dual stack). If the machine has no IPv6, it falls back to
  /// `0.0.0.0`. Any other IPv6 address accepts IPv6 connections only.
  ///
  /// - Parameters:
  ///   - address: where to listen; with port 0 the kernel chooses a port.
  ///   - isIPv6Only: `SocketAddress.any` accepts IPv6 connections only as well, so that another listener can have the port's IPv4
  ///     addresses.
  ///   - backlog: how many connections may wait to be accepted; the kernel has its own limit.
  /// - Throws: EADDRINUSE, EACCES (ports below 1024 need a privilege), EADDRNOTAVAIL and others.
  package init(_ address: SocketAddress, isIPv6Only: Bool = false, backlog: CInt = 1024) throws(SystemError) {
    let descriptor = try Listener.bound(to: address, isIPv6Only, backlog)
    let bound = try descriptor.localAddress() ?? address
    self.init(descriptor, bound, isShared: false)
  }

  /// Creates a listening socket. It uses IPv4 alone if `::` was requested and the machine has no IPv6.
  private static func bound(to address: SocketAddress, _ isIPv6Only: Bool, _ backlog: CInt) throws(SystemError) -> Descriptor {
    do {
      return try listening(on: address, isIPv6Only, backlog)
    } catch {
      let port = address.port ?? 0
      guard address == .any(port: port), !isIPv6Only, error.code == EAFNOSUPPORT || error.code == EADDRNOTAVAIL else {
        throw error
      }
      return try listening(on: .anyIPv4(port: port), isIPv6Only, backlog)
    }
  }

  private static func listening(
    on address: SocketAddress, _ isIPv6Only: Bool, _ backlog: CInt
  ) throws(SystemError) -> Descriptor {
    let descriptor = Descriptor(adopting: try Kernel.socket(address.family, CInt(SOCK_NONBLOCK.rawValue)))
    let number = descriptor.number
    switch address {
    case .ipv4:
      try Kernel.setOption(number, SOL_SOCKET, SO_REUSEADDR, 1)
    case .ipv6(let octets, _, _):
      try Kernel.setOption(number, SOL_SOCKET, SO_REUSEADDR, 1)
      let only: CInt = octets == SIMD16(repeating: 0) && !isIPv6Only ? 0 : 1
      try Kernel.setOption(number, CInt(IPPROTO_IPV6), IPV6_V6ONLY, only)
    case .unix:
      break
    }
    // Accepted connections inherit it.
    if case .unix = address {} else { try descriptor.sendWithoutDelay() }
    try address.withKernelForm { (form, length) throws(SystemError) in try Kernel.bind(number, form, length) }
    try Kernel.listen(number, backlog)
    return descriptor
  }

  /// Gives up ownership of the socket and returns it.
  package consuming func takeDescriptor() -> Descriptor { descriptor }

  /// Accepts one pending connection. It has TCP_NODELAY and close-on-exec, and it stays blocking.
  package borrowing func accept() -> Accepted {
    var number: CInt = -1
    do {
      // Only another process that accepts from the same blocking socket can still make the next call wait.
      if isShared, try Kernel.pollNow(descriptor.number, CInt(POLLIN)) == 0 { return .wouldBlock }
      let peer = try SocketAddress.filled { (form, length) throws(SystemError) in
        number = try Kernel.accept(descriptor.number, form, &length)
      }
      let connection = Connection(descriptor: Descriptor(adopting: number), peer: peer ?? .unix(""))
      if isShared, address.port != nil {
        // The connection may be gone already; its first read reports that.
        try? connection.descriptor.sendWithoutDelay()
      }
      return .connection(connection)
    } catch {
      switch error.code {
      case EAGAIN: return .wouldBlock
      case ECONNABORTED, EPROTO, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH:
        return .vanished(error)
      default: return .failed(error)
      }
    }
  }
}

/// The result of `Listener.accept`.
package enum Accepted: ~Copyable {
  /// A connection.
  case connection(Connection)
  /// No connection is pending.
  case wouldBlock
  /// A connection was lost before it could be accepted (see accept(2)): call `accept` again.
  case vanished(SystemError)
  /// The system cannot accept a connection now: EMFILE, ENFILE, ENOBUFS, ENOMEM. The connection stays in the queue and
  /// poll continues to report readable, so pause before the next call.
  case failed(SystemError)
}

/// An accepted connection.
package struct Connection: ~Copyable, Sendable {
  /// The socket.
  package var descriptor: Descriptor
  /// The address of the peer, or of the client that a front has named.
  package let peer: SocketAddress
  /// The address that the client connected to, if a front has named it; else it is that of the socket.
  package let local: SocketAddress?
  /// True if a front named no client, or itself: the connection is its own, such as a health check.
  package let isFrontsOwn: Bool

  /// Creates a connection that was accepted elsewhere.
  package init(descriptor: consuming Descriptor, peer: SocketAddress, local: SocketAddress? = nil, isFrontsOwn: Bool = false) {
    self.descriptor = descriptor
    self.peer = peer
    self.local = local
    self.isFrontsOwn = isFrontsOwn
  }

  /// Gives up ownership of the socket and returns it.
  package consuming func takeDescriptor() -> Descriptor { descriptor }
}

// MARK: - The addresses of a socket

extension Descriptor {
  /// The local address of the socket; nil for a family other than IPv4, IPv6 and Unix.
  package borrowing func localAddress() throws(SystemError) -> SocketAddress? {
    let number = self.number
    return try SocketAddress.filled { (form, length) throws(SystemError) in
      try Kernel.localName(number, form, &length)
    }
  }

  /// The peer's address. ENOTCONN if the connection is gone.
  package borrowing func peerAddress() throws(SystemError) -> SocketAddress? {
    let number = self.number
    return try SocketAddress.filled { (form, length) throws(SystemError) in
      try Kernel.peerName(number, form, &length)
    }
  }
}
