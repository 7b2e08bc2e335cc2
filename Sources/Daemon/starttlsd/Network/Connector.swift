// Connector: the process that connects to the servers of --backend, so that the process that serves strangers needs no socket of its own
// and cannot reach anything else: Landlock knows the port of a connection, not its address, and nothing of Unix sockets.
//
// It takes no address: a message has the index of a server. The addresses are those of the start. Only with --backend-client transparent
// there is one in the message: that of the client, which the connection comes from.
//
// Contract: no call waits, except for room for an answer. It has no files, and only the system calls that it needs.
//
// Message to it; the number names the request:
//
//   connect     the first value is the index, the second the scope of an IPv6 address; the client's address, 4 or 16 octets
//
// Messages of it:
//
//   connected   with a socket whose connection is established or in progress
//   failed      the first value is the errno; the name of the call

import CKernel
import Glibc
import Transport

struct Connector {
  static let connect: Int32 = 1
  static let connected: Int32 = 2
  static let failed: Int32 = 3
  /// Descriptors that belong to no connection.
  private static let ownDescriptors: UInt = 16

  private let servers: BackendServers

  /// Starts the process.
  ///
  /// - Parameter connections: how many sockets may be on their way at a time, from the processes of all workers of this listener.
  static func start(_ servers: BackendServers, _ privileges: Privileges, _ sandbox: Sandbox, connections: Int) throws(SystemError) -> ForkedProcess {
    try ForkedProcess("starttlsd-conn", keepsErrors: false) { socket in
      do {
        // The kernel counts the sockets on their way of a user, so those of other workers and of other listeners as well, and compares
        // the sum with the limit of the process that sends one. How many other listeners have is not known here.
        _ = try OpenFilesLimit.raise(to: max(UInt(connections) + ownDescriptors, try OpenFilesLimit.current().hard))
        try privileges.own?.become()
        try Identity.renounceNewPrivileges()
        try Identity.hideMemory()
        try sandbox.enterConnector(servers)
        let connector = Connector(servers: servers)
        while true { connector.take(socket) }
      } catch {
        _exit(111)
      }
    }
  }

  private func take(_ socket: borrowing MessageSocket) {
    switch socket.receive(limit: HelperMessage.limit, isWaiting: true) {
    case .nothing: return
    case .ended: _exit(0)
    case .message(let message):
      guard let known = HelperMessage(message.octets), known.kind == Connector.connect, servers.addresses.indices.contains(Int(known.first))
      else { _exit(100) }
      let source = Connector.source(known)
      guard (source != nil) == isTransparent else { _exit(100) }
      answer(known.number, servers.addresses[Int(known.first)], from: source, socket)
    }
  }

  private var isTransparent: Bool {
    if case .transparent = servers.client { true } else { false }
  }

  /// The address that the connection comes from; nil for one of ours.
  private static func source(_ message: HelperMessage) -> SocketAddress? {
    switch message.payload.count {
    case 4: .ipv4(SIMD4(message.payload), port: 0)
    case 16: .ipv6(SIMD16(message.payload), port: 0, scope: UInt32(bitPattern: message.second))
    default: nil
    }
  }

  private func answer(_ number: UInt32, _ address: SocketAddress, from source: SocketAddress?, _ socket: borrowing MessageSocket) {
    do throws(SystemError) {
      let made = try address.connect(from: source)
      try socket.send(HelperMessage(Connector.connected, number: number).octets ?? [], descriptor: made.number, isWaiting: true)
    } catch {
      let failure = HelperMessage(Connector.failed, number: number, first: error.code, payload: Array(error.call.utf8))
      do throws(SystemError) {
        try socket.send(failure.octets ?? [], isWaiting: true)
      } catch {
        _exit(0)
      }
    }
  }
}
