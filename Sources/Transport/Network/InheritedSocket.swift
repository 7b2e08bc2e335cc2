// InheritedSocket: a socket that a service manager created and passed to this program.
//
// The manager decides the address and all options of the socket. Its description is shared with the manager, so
// no status flag of it is set. It may be blocking: `accept` then asks poll first.
//
// Failure: a SystemError of getsockopt (ENOTSOCK, EBADF) if the descriptor is no open socket.

import CKernel
import Glibc

/// The kind of a socket that was passed at a descriptor.
package enum InheritedSocket: Hashable, Sendable {
  /// A listening stream socket.
  case listening
  /// A connected stream socket.
  case connected
  /// Anything else: a datagram socket, or a stream socket that neither listens nor is connected.
  case unusable

  /// Examines a descriptor. Nothing is changed and nothing is owned.
  package static func kind(of number: CInt) throws(SystemError) -> InheritedSocket {
    guard try Kernel.option(number, SOL_SOCKET, SO_TYPE) == CInt(SOCK_STREAM.rawValue) else { return .unusable }
    if try Kernel.option(number, SOL_SOCKET, SO_ACCEPTCONN) != 0 { return .listening }
    let hasPeer = (try? SocketAddress.filled { (form, length) throws(SystemError) in
      try Kernel.peerName(number, form, &length)
    }) != nil
    return hasPeer ? .connected : .unusable
  }

  /// The local address of a socket; nil for a family other than IPv4, IPv6 and Unix.
  package static func localAddress(of number: CInt) throws(SystemError) -> SocketAddress? {
    try SocketAddress.filled { (form, length) throws(SystemError) in try Kernel.localName(number, form, &length) }
  }
}

extension Listener {
  /// Takes ownership of a listening socket that a service manager passed. It becomes close-on-exec.
  ///
  /// - Throws: EINVAL if it is not a listening stream socket; EAFNOSUPPORT for a family other than IPv4, IPv6 and Unix.
  package init(inherited descriptor: consuming Descriptor) throws(SystemError) {
    try descriptor.setCloseOnExec(true)
    guard try InheritedSocket.kind(of: descriptor.number) == .listening else { throw SystemError("accept", EINVAL) }
    guard let address = try descriptor.localAddress() else { throw SystemError("getsockname", EAFNOSUPPORT) }
    self.init(descriptor, address, isShared: true)
  }
}
