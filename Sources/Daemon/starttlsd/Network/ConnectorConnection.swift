// ConnectorConnection: the requests to the process that connects to the servers, as the event loop sees them. No request waits.
//
// Failure: a request that cannot be sent throws; one that was sent is answered, or fails when that process ends.

import Glibc
import Transport

/// What a request leads to.
protocol ConnectorUser: AnyObject {
  /// A socket whose connection is established or in progress.
  func connected(_ socket: consuming Descriptor, now: Int)
  func failed(_ error: SystemError, now: Int)
}

final class ConnectorConnection: HelperUser {
  private let connection: HelperConnection
  private var users: [UInt32: any ConnectorUser] = [:]
  private var last: UInt32 = 0
  /// Requests without an answer, including those that nobody waits for any more, and how many of them there may be.
  private var unanswered = 0
  private let limit: Int

  init(_ connection: HelperConnection, limit: Int) {
    self.connection = connection
    self.limit = limit
    connection.user = self
  }

  /// Asks for a connection to a server. `user` is notified once, unless the request is cancelled.
  ///
  /// - Parameters:
  ///   - index: that of the server.
  ///   - source: the address that the connection comes from, if it is not ours.
  /// - Returns: the number of the request.
  func request(_ index: Int, from source: SocketAddress?, for user: any ConnectorUser) throws(SystemError) -> UInt32 {
    guard !connection.hasEnded else { throw SystemError("sendmsg", EPIPE) }
    guard unanswered < limit else { throw SystemError("sendmsg", EAGAIN) }
    repeat { last &+= 1 } while users[last] != nil
    var message = HelperMessage(Connector.connect, number: last, first: Int32(index))
    switch source {
    case .ipv4(let octets, _): message.payload = (0..<4).map { octets[$0] }
    case .ipv6(let octets, _, let scope):
      message.payload = (0..<16).map { octets[$0] }
      message.second = Int32(bitPattern: scope)
    case .unix, nil: break
    }
    users[last] = user
    unanswered += 1
    _ = connection.send(message)
    return last
  }

  /// Nobody waits for the answer any more.
  func cancel(_ number: UInt32) { users[number] = nil }

  func received(_ message: HelperMessage, _ descriptor: inout Descriptor?, now: Int) {
    unanswered -= 1
    guard let user = users.removeValue(forKey: message.number) else { return }
    if message.kind == Connector.failed {
      user.failed(SystemError(String(decoding: message.payload, as: UTF8.self), message.first), now: now)
    } else if let socket = descriptor.take() {
      user.connected(socket, now: now)
    } else {
      // The kernel had no descriptor for it here.
      user.failed(SystemError("recvmsg", EMFILE), now: now)
    }
  }

  /// If the process has ended, nothing is answered any more.
  func lostIfEnded(now: Int) {
    guard connection.hasEnded else { return }
    let waiting = users.values
    users = [:]
    for user in waiting { user.failed(SystemError("recvmsg", EPIPE), now: now) }
  }
}
