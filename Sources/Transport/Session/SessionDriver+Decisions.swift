// Carries out each decision of the conversation.

import Glibc
import SMTPState

extension SessionDriver {
  /// Carries out the decisions that the last event led to, and starts the conversation's timer again if it has to be.
  /// Call it after each event of the conversation, and before the next one.
  ///
  /// - Returns: true if there was a decision.
  @discardableResult
  func carryOutDecisions() -> Bool {
    var hasDecided = false
    while state == .session, let decision = conversation.nextDecision() {
      hasDecided = true
      carryOut(decision)
    }
    if conversation.timerStarts != armedStart { arm() }
    return hasDecided
  }

  private func carryOut(_ decision: SMTPConversation.Decision) {
    switch decision {
    case .peek(let party): peek(at: party)
    case .handoff(let proof): handoff(proof)
    case .abort(let proof):
      decide(.abort(proof))
      host.abort(proof)
    case .endServer: endServer()
    case .restart: restart()
    case .relay: beginRelay()
    case .close(let reason): linger(.closed(reason))
    }
  }

  func decide(_ decision: SessionRecord.Decision) {
    record.decision = decision
    record.decidedAt = now
  }

  /// Looks at the next octet of that party and leaves it in place.
  private func peek(at party: SMTPSession.Party) {
    guard host.isTLSAvailable() else { return conversation.tlsUnavailable() }
    var octet: UInt8 = 0
    let answer = withUnsafeMutableBytes(of: &octet) { octet in
      switch party {
      case .client: clear?.canPeek == true ? (clear?.show(in: octet) ?? .ended) : .wouldBlock
      case .server, .newServer: lookAtServer(into: octet)
      }
    }
    switch answer {
    case .moved:
      // It may be the first one of a ClientHello.
      if party == .client { clientMayHaveInput = true }
      conversation.peeked(octet, ended: false)
    case .wouldBlock: conversation.peeked(nil, ended: false)
    case .ended, .failed: conversation.peeked(nil, ended: true)
    }
  }

  private func endServer() {
    server = nil
    fromServer.removeAll()
    serverEnded = false
    serverBroken = false
    host.endServer()
  }

  private func handoff(_ proof: SMTPSession.Handoff) {
    guard var client = clear.take() else { return }
    decide(.handoff)
    let number = client.inputNumber
    let canPeek = client.canPeek
    stream = host.handoff(proof, client)
    // The stream may have its input elsewhere. If not, the client was peeked at before the 220.
    if !canPeek || stream?.descriptor != number { clientMayHaveInput = true }
  }

  private func restart() {
    guard let facts = record.tls else { return conversation.serverRestarted(.failed) }
    begin(host.restart(facts))
  }

  /// Reports the result of a start that was `.pending`: of the first server, of the one that takes the place of a learnt one, or of a restart. Call `turn` after it.
  public func serverStarted(_ start: consuming ServerStart) {
    if state == .securing, record.securedAt != nil { return beginSecured(start) }
    if state == .replaying { return beginReplacement(start) }
    guard state == .session, isServerAwaited || conversation.phase == .restarting else { return }
    begin(start)
    carryOutDecisions()
  }

  /// A server was started, the first one or the one after the handshake.
  func begin(_ start: consuming ServerStart) {
    switch consume start {
    case .started(let socket):
      server = ServerConnection(socket)
      serverMayHaveInput = false
      hasServerSpoken = false
      if !isServerAwaited {
        serverParty = .newServer
        conversation.serverRestarted(.greeting)
      }
    case .pending:
      return
    case .failed(let why):
      record.failure = why
      if isServerAwaited {
        serverEnded = true
        conversation.inputEnded(from: .server)
      } else {
        conversation.serverRestarted(.failed)
      }
    }
    isServerAwaited = false
  }

  /// Ends everything now. A client that leaves before the decision has abandoned STARTTLS.
  ///
  /// - Returns: true, as a step that moved something.
  func finish(_ end: SessionRecord.End) -> Bool {
    if record.decision == nil {
      decide(end == .clientLost ? .abort(.clientEnded) : .cutOff)
      host.abort(.clientEnded)
    }
    if record.end == nil { record.end = end }
    noteTruncation()
    record.endedAt = now
    state = .finished
    clear = nil
    stream = nil
    server = nil
    replacement = nil
    conversation.discard()
    toClient.removeAll()
    toServer.removeAll()
    decrypted.removeAll()
    fromServer.removeAll()
    return true
  }
}
