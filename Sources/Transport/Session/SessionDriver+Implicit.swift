// Implicit TLS (RFC 8314, 3.3): the session begins with the handshake.
//
// The server is started after the handshake, once. Then the octets are copied in both directions: there is nothing to
// decide, and the server's own greeting is the first text that the client gets. Nothing is ever sent in clear: if the
// handshake fails, the connection is closed after the alert.

import Glibc
public import SMTPState

extension SessionDriver {
  /// Starts a session whose client's connection is in the TLS layer from the start.
  ///
  /// - Parameters:
  ///   - policy: the settings of the session; of its timeouts those of the handshake and of the greeting count.
  ///   - timeouts: the timers that are not in the policy.
  ///   - stream: the TLS layer; no handshake has begun.
  ///   - host: starts the server: `restart` is called after the handshake. The driver does not retain it.
  ///   - now: `Clock.now()`.
  public convenience init(
    policy: SMTPSession.Policy, timeouts: Timeouts, secured stream: any TLSStream, host: any SessionHost, now: Int
  ) {
    self.init(policy: policy, timeouts: timeouts, host: host, now: now)
    self.stream = stream
    state = .securing
    decide(.implicit)
    ownUntil = Clock.time(policy.handshakeTimeoutMilliseconds, after: now)
  }

  /// Continues the handshake; after it, the server's start may be pending.
  func secureStep() -> Bool {
    guard let stream, record.securedAt == nil else { return false }
    switch stream.handshake() {
    case .wouldBlock: return false
    case .failed(let why):
      record.failure = why
      linger(.closed(.tlsFailed))
    case .established:
      record.tls = stream.facts
      record.securedAt = now
      ownUntil = Clock.time(policy.greetingTimeoutMilliseconds, after: now)
      beginSecured(host.restart(stream.facts))
    }
    return true
  }

  /// The server was started, or was not.
  func beginSecured(_ start: consuming ServerStart) {
    switch consume start {
    case .pending: break
    case .started(let socket):
      server = ServerConnection(socket)
      greetingUntil = ownUntil
      ownUntil = nil
      beginRelay()
    case .failed(let why):
      record.failure = why
      _ = toClient.append(ServiceReply.noServer)
      linger(.closed(.restartFailed))
    }
  }

  /// A timer has expired during the handshake or the start of the server.
  func expireSecuring() -> Bool {
    if let sessionUntil, now >= sessionUntil { return finish(.sessionTimeout) }
    guard let ownUntil, now >= ownUntil else { return false }
    guard record.securedAt != nil else {
      linger(.closed(.handshakeTimeout))
      return true
    }
    return endWithoutServer(.restartFailed)
  }

  /// The server has sent nothing in time, not even its greeting.
  func expireGreeting() -> Bool {
    guard let greetingUntil, record.sent == 0, now >= greetingUntil else { return false }
    self.greetingUntil = nil
    return endWithoutServer(.greetingTimeout)
  }

  private func endWithoutServer(_ reason: SMTPSession.Reason) -> Bool {
    _ = toClient.append(ServiceReply.noServer)
    linger(.closed(reason))
    return true
  }
}
