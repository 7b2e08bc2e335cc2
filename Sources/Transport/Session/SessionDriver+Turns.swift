// The turns of a driver: each makes steps as long as something moves.

import Glibc
import SMTPState

extension SessionDriver {
  /// Makes all the progress that is possible without waiting. Call it when a watch is ready or the deadline has passed.
  public func turn(now: Int) {
    turn(now: now, client: true, server: true)
  }

  /// The same after events that were reported together. A side without an event is not read unless it is known to have
  /// input.
  ///
  /// - Parameters:
  ///   - client: true if an event of the client's descriptors was reported.
  ///   - server: true if an event of the server's descriptor was reported.
  package func turn(now: Int, client: Bool, server: Bool) {
    if client { clientMayHaveInput = true }
    if server { serverMayHaveInput = true }
    self.now = now
    stepsLeft = SessionDriver.stepsLimit
    useSteps()
    while expire() && stepsLeft > 0 {
      stepsLeft -= 1
      useSteps()
    }
    // A hang-up that came together with another event is reported again.
    if client && stepsLeft == SessionDriver.stepsLimit { noticeHangUp() }
    releaseStorage()
  }

  /// Makes steps as long as something moves and this turn has steps left.
  func useSteps() {
    while stepsLeft > 0 && step() { stepsLeft -= 1 }
  }

  /// One step in the current state; false if nothing moved.
  private func step() -> Bool {
    switch state {
    case .securing: secureStep()
    case .session: sessionStep()
    case .replaying: replayStep()
    case .relaying: relayStep()
    case .lingering: lingerStep()
    case .finished: false
    }
  }

  /// One step while the conversation decides.
  private func sessionStep() -> Bool {
    flush()
    if clientBroken { return finish(.clientLost) }
    if replaceLearntServer() { return true }
    // The output is sent: after the 220 that leads to the handoff.
    if carryOutDecisions() { return true }
    if conversation.phase == .handshaking { return handshake() }
    guard hasRoomForReplies, conversation.interest != .drain else { return false }
    if canPullServer, pullServer() { return true }
    if canPullClient, pullClient() { return true }
    return noticeClientEnd()
  }

  /// Continues the handshake.
  private func handshake() -> Bool {
    guard let stream else { return false }
    guard clientMayHaveInput || stream.direction == .write || stream.hasPending else { return noticeServerEnd() }
    switch stream.handshake() {
    case .established:
      record.tls = stream.facts
      record.securedAt = now
      clientEnded = false
      clientHasUnread = false
      clientHasHungUp = false
      clientOutputHasHungUp = false
      clientMayHaveInput = true
      conversation.handshakeFinished(.established)
    case .failed(let why):
      record.failure = why
      conversation.handshakeFinished(.failed)
    case .wouldBlock:
      clientMayHaveInput = false
      return noticeServerEnd()
    }
    carryOutDecisions()
    return true
  }

  /// True if the client's output has room for the result of one more line.
  var hasRoomForReplies: Bool { conversation.hasRoomForReplies }

  /// True if the conversation waits for octets of that side, whether or not there is room for what they lead to.
  var wantsClient: Bool { conversation.interest == .both }
  var wantsServer: Bool { !isServerAwaited && (wantsClient || conversation.interest == .server) }

  /// True if a line of the server can be passed to the conversation, and there is room for what it leads to.
  var canPullServer: Bool {
    state == .session && conversation.phase != .handshaking && hasRoomForReplies && conversation.interest != .drain && wantsServer
  }

  /// True if a client's line can be passed to the conversation: it wants one, and there is room to forward it.
  var canPullClient: Bool { conversation.wants(.client) }

  /// Releases the storage of empty buffers: an idle connection keeps none.
  private func releaseStorage() {
    conversation.releaseMemory()
    toClient.releaseIfEmpty()
    toServer.releaseIfEmpty()
    decrypted.releaseIfEmpty()
    fromServer.releaseIfEmpty()
    window.close()
  }

  // MARK: Between turns

  /// TLS is no longer available: STARTTLS is no longer listed. After the 220 this has no effect. Do not call it from
  /// within a turn.
  public func withdrawTLS() {
    guard state == .session || state == .replaying else { return }
    conversation.tlsUnavailable()
    carryOutDecisions()
  }

  /// The program stops: closes everything at once.
  public func stop() { stop(as: .stopped) }

  /// The same, for this reason.
  package func stop(as end: SessionRecord.End) {
    if state != .finished { _ = finish(end) }
  }
}
