// A session whose server is not started until it is needed: it begins with a learnt server.
//
// When the learnt server does not take what is for the server, the real one is started and brought to the same point: the
// state `.replaying`. Meanwhile nothing is read from the client, and what is for the server waits in the conversation. Then the
// session continues as if that server had been there from the start.
//
// If the server cannot be started, ends, is too slow, or sends anything but what was learnt, the client gets 421 4.3.2 in reply
// to its command. None of the server's octets has reached it.

import Glibc
package import SMTPState

/// The program around a session that begins with a learnt server.
package protocol LearntServerHost: SessionHost {
  /// Starts the server that the learnt one stands for. `.pending`: as for `restart`.
  func startServer() -> ServerStart
  /// The server has sent something else than what was learnt, and no reply 4yz in its place.
  func learntServerDiffers()
}

/// The server that takes the place of a learnt one, until it is where that one was.
final class ServerReplacement {
  /// nil once the session has taken it.
  var connection: ServerConnection?
  var replay: ServerReplay

  init(_ socket: consuming Descriptor, _ replay: ServerReplay) {
    connection = ServerConnection(socket)
    self.replay = replay
  }
}

extension SessionDriver {
  /// Starts a session with a learnt server.
  ///
  /// - Parameters: as for the other sessions. `host` starts the server if it is needed.
  package convenience init(
    policy: SMTPSession.Policy, timeouts: Timeouts, client: consuming PlaintextClient, learnt replies: LearntReplies,
    host: any LearntServerHost, observer: (any ConversationObserver)? = nil, now: Int
  ) {
    self.init(policy: policy, timeouts: timeouts, host: host, now: now)
    conversation.observer = observer
    clear = consume client
    learntHost = host
    server = ServerConnection(LearntServer(replies, policy.mailProtocol))
  }

  /// If the learnt server has not taken what is for the server: starts the server. Call it after a `flush`.
  ///
  /// - Returns: true if the state is `.replaying` now.
  func replaceLearntServer() -> Bool {
    guard pendingToServer > 0, server?.neededReplay != nil, let learntHost else { return false }
    isRelayNext = state == .relaying
    state = .replaying
    ownUntil = Clock.time(policy.greetingTimeoutMilliseconds, after: now)
    beginReplacement(learntHost.startServer())
    return true
  }

  /// The server was started, or was not.
  func beginReplacement(_ start: consuming ServerStart) {
    guard let replay = server?.neededReplay else { return }
    switch consume start {
    case .started(let socket):
      hasServerSpoken = false
      replacement = ServerReplacement(socket, replay)
    case .pending: break
    case .failed(let why): endWithoutReplacement(why)
    }
  }

  /// One step of the dialogue with the server that takes the place of the learnt one.
  func replayStep() -> Bool {
    flush()
    if clientBroken { return finish(.clientLost) }
    guard let replacement else { return false }
    if replacement.replay.isComplete { return continueWithServer() }
    let toSend = replacement.replay.toSend
    guard toSend.isEmpty else {
      switch toSend.withUnsafeBytes({ replacement.connection?.send($0) ?? .ended }) {
      case .moved(let count): replacement.replay.sent(count)
      case .wouldBlock: return false
      case .ended, .failed: endWithoutReplacement("the server ended after its greeting")
      }
      return true
    }
    return compare(replacement)
  }

  private func compare(_ replacement: ServerReplacement) -> Bool {
    let window = UnsafeMutableRawBufferPointer(rebasing: window.open().prefix(replacement.replay.wanted))
    switch replacement.connection?.receive(into: window) {
    case .wouldBlock: return false
    case .moved(let count):
      hasServerSpoken = true
      switch replacement.replay.received(UnsafeRawBufferPointer(rebasing: window.prefix(count))) {
      case .same: break
      case .temporaryFailure: endWithoutReplacement("the server refuses this client for now, in place of its greeting or its reply to EHLO")
      case .different:
        learntHost?.learntServerDiffers()
        endWithoutReplacement("the server does not send the greeting or the reply to EHLO that was learnt")
      }
    case .ended, .failed, nil: endWithoutReplacement("the server ended before its greeting and its reply to EHLO")
    }
    return true
  }

  /// The server is where the learnt one was.
  private func continueWithServer() -> Bool {
    server = replacement?.connection.take()
    serverMayHaveInput = true
    leaveReplay()
    // The timers start again: the server gets the command now.
    idle.stop()
    if state == .relaying { beginRelay() } else { arm() }
    return true
  }

  private func endWithoutReplacement(_ why: String) {
    record.failure = why
    leaveReplay()
    serverEnded = true
    if record.decision == nil {
      decide(.abort(.serverEnded))
      host.abort(.serverEnded)
    }
    _ = toClient.append(ServiceReply.serverUnavailable)
    linger(.closed(.serverEnded))
  }

  /// Back to the state from which the replay began.
  private func leaveReplay() {
    replacement = nil
    ownUntil = nil
    state = isRelayNext ? .relaying : .session
  }

  /// Handles an expired timer in the state `.replaying`.
  func expireReplaying() -> Bool {
    if let ownUntil, now >= ownUntil {
      endWithoutReplacement("the server did not send its greeting and its reply to EHLO in time")
      return true
    }
    let isClearPhaseExpired = !conversation.isClearPhaseOver && now >= clearPhaseUntil
    guard isClearPhaseExpired || sessionUntil.map({ now >= $0 }) ?? false else { return false }
    // Both timers end the session.
    leaveReplay()
    return expire()
  }
}
