// Implicit TLS (RFC 8314, 3.3): the session begins with the handshake.
//
// The server is started after the handshake, once. Then the octets are copied in both directions: there is nothing to
// decide, and the server's own greeting is the first text that the client gets. Nothing is ever sent in clear: if the
// handshake fails, the connection is closed after the alert. A client that leaves before the greeting ends the session,
// unless it has sent something first.

import Glibc
public import SMTPState

extension SessionDriver {
  /// Starts a session whose client's connection is in the TLS layer from the start.
  ///
  /// - Parameters:
  ///   - policy: the settings of the session; of its timeouts those of the handshake and of the greeting count.
  ///   - timeouts: the timers that are not in the policy.
  ///   - stream: the TLS layer; no handshake has begun.
  ///   - greetingWaitMilliseconds: after the handshake; a client that sends octets meanwhile gets 554 5.5.1. 0: no wait.
  ///   - host: starts the server: `restart` is called after the handshake. The driver does not retain it.
  ///   - now: `Clock.now()`.
  public convenience init(
    policy: SMTPSession.Policy, timeouts: Timeouts, secured stream: any TLSStream, greetingWaitMilliseconds: Int = 0,
    host: any SessionHost, now: Int
  ) {
    self.init(policy: policy, timeouts: timeouts, host: host, now: now)
    self.stream = stream
    self.greetingWaitMilliseconds = greetingWaitMilliseconds
    state = .securing
    decide(.implicit)
    ownUntil = Clock.time(policy.handshakeTimeoutMilliseconds, after: now)
  }

  /// Continues the handshake; after it, the server's start may be pending.
  func secureStep() -> Bool {
    if clientBroken { return finish(.clientLost) }
    if isBeforeGreeting { return watchForEarlyOctets() }
    guard let stream else { return false }
    guard record.securedAt == nil else { return watchForEnd() }
    switch stream.handshake() {
    case .wouldBlock: return false
    case .failed(let why):
      record.failure = why
      linger(.closed(.tlsFailed))
    case .established:
      record.tls = stream.facts
      record.securedAt = now
      isBeforeGreeting = greetingWaitMilliseconds > 0
      guard isBeforeGreeting else {
        startServer()
        break
      }
      ownUntil = Clock.time(greetingWaitMilliseconds, after: now)
    }
    return true
  }

  private func startServer() {
    guard let tls = record.tls else { return }
    ownUntil = Clock.time(policy.greetingTimeoutMilliseconds, after: now)
    beginSecured(host.restart(tls))
  }

  /// The client waits for its greeting: it may send nothing, and may leave.
  private func watchForEarlyOctets() -> Bool {
    guard let stream else { return false }
    var octet: UInt8 = 0
    switch withUnsafeMutableBytes(of: &octet, { stream.read(into: $0) }) {
    case .wouldBlock: return false
    case .moved(let count):
      isBeforeGreeting = false
      record.received += count
      _ = toClient.append(ServiceReply.earlyTalker)
      linger(.earlyTalker)
      return true
    case .ended: return finish(.clientLost)
    case .failed(let why):
      record.failure = "TLS: \(why)"
      return finish(.clientLost)
    }
  }

  /// The start of the server is pending. What the client sends meanwhile is for the server; its end is not seen after that.
  private func watchForEnd() -> Bool {
    guard decrypted.isEmpty else { return false }
    switch readDecrypted() {
    case .moved, .wouldBlock: return false
    case .ended: return endWithoutClient()
    case .failed: return finish(.clientLost)
    }
  }

  /// The server was started, or was not.
  func beginSecured(_ start: consuming ServerStart) {
    switch consume start {
    case .pending: break
    case .started(let socket):
      server = ServerConnection(socket)
      serverMayHaveInput = false
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
    if isBeforeGreeting {
      isBeforeGreeting = false
      startServer()
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

  /// The server has ended without a greeting: it failed at its start, perhaps in the process that starts it.
  var hasEndedWithoutGreeting: Bool { greetingUntil != nil && serverEnded && record.sent == 0 && pendingToClient == 0 }

  func endWithoutServer(_ reason: SMTPSession.Reason) -> Bool {
    _ = toClient.append(ServiceReply.noServer)
    linger(.closed(reason))
    return true
  }

  /// The client has ended before the greeting and has sent nothing.
  var hasClientEndedWithoutGreeting: Bool {
    greetingUntil != nil && clientEnded && record.received == 0 && record.sent == 0 && pendingToClient == 0
  }

  func endWithoutClient() -> Bool {
    clientEnded = true
    linger(.closed(.clientEnded))
    return true
  }
}
