// ProbedServer: a server that is reached by an address, during a probe.

import Glibc
import Transport

/// A connection to the server, from its start to the end of the dialogue.
final class ProbedServer: ProbedPeer {
  private let server: RelayProbe.Server
  private let isLMTP: Bool
  /// nil unless the connection is being made.
  private var connecting: Descriptor?
  private var connection: ProbeConnection?
  private var failure: String?

  /// Starts to connect.
  init(_ server: RelayProbe.Server, isLMTP: Bool) {
    self.server = server
    self.isLMTP = isLMTP
    do throws(SystemError) {
      connecting = try server.address.connect()
    } catch {
      failure = "\(error)"
    }
  }

  /// What to wait for; nil after the end.
  var watch: pollfd? {
    if let number = connecting?.pollNumber() { return pollfd(fd: number, events: CShort(POLLOUT), revents: 0) }
    return connection?.watch
  }

  /// The event has occurred.
  func ready() {
    guard let socket = connecting.take() else {
      connection?.read()
      return
    }
    do throws(SystemError) {
      if let error = try socket.connectionError() { throw error }
      guard case .moved(server.header.count) = server.header.withUnsafeBytes({ socket.send($0) }) else { throw SystemError("send", EPIPE) }
      connection = ProbeConnection(socket, isLMTP: isLMTP)
    } catch {
      failure = "\(error)"
    }
  }

  /// The time has expired.
  func expire() {
    if connecting != nil { failure = "\(SystemError("connect", ETIMEDOUT))" }
    connecting = nil
    connection?.expire()
  }

  /// The finding. Read it after the end.
  var finding: RelayFinding { failure.map { .broken("cannot be reached: \($0)") } ?? connection?.finding ?? .broken("answers nothing") }
}
