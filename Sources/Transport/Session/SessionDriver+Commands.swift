// Carries out each command of the session.

import Glibc
import SMTPState

extension SessionDriver {
  /// Carries out a command and the commands that follow from it.
  func act(_ first: SMTPSession.Command) {
    var command = first
    while true {
      carryOut(command)
      if command.restartsTimer { arm() }
      switch command {
      case .peek(let party): command = peek(at: party)
      case .restart: command = restart()
      default:
        guard state != .finished, session.interest == .again else { return rearmIfChanged() }
        command = session.nextCommand()
      }
    }
  }

  private func carryOut(_ command: SMTPSession.Command) {
    switch command {
    case .keep, .peek, .restart: break
    case .drop(.client): clientHold.removeAll()
    case .drop(.reply):
      if session.phase == .negotiating && (lastVerb == .ehlo || lastVerb == .lhlo) { record.tookOutKeywords = true }
      replyHold.removeAll()
    case .forward(let verb):
      if verb == .ehlo || verb == .helo || verb == .lhlo { record.noteHelo(clientHold) }
      lastVerb = verb
      write(&clientHold, .kept, to: &toServer)
    case .pass(let separator):
      noteAuthenticationReply()
      write(&replyHold, separator, to: &toClient)
    case .passEarlier(let separator): write(&earlierHold, separator, to: &toClient)
    case .stash: swap(&earlierHold, &replyHold)
    case .reply(let reply): say(reply)
    case .resetServer:
      lastVerb = .rset
      if !toServer.append("RSET\r\n") { breakServer() }
    case .endServer: endServer()
    case .handoff(let proof): handoff(proof)
    case .abort(let proof):
      decide(.abort(proof))
      host.abort(proof)
    case .relay: beginRelay()
    case .close(let reason): linger(.closed(reason))
    }
  }

  func decide(_ decision: SessionRecord.Decision) {
    record.decision = decision
    record.decidedAt = now
  }

  /// Counts a refused AUTH: the last line of a reply 5yz to AUTH or to a response of its exchange.
  private func noteAuthenticationReply() {
    guard lastVerb == .auth || lastVerb == .response else { return }
    replyHold.withFirstPiece { octets in
      let isLastLine = octets.count < 4 || octets[3] != UInt8(ascii: "-")
      if octets.first == UInt8(ascii: "5") && isLastLine { record.refusedAuthentications += 1 }
    }
  }

  private func say(_ reply: SMTPSession.Reply) {
    switch reply {
    case .syntaxError, .wrongGreeting, .badParameter, .unknownCommand, .badSequence: record.junkLines += 1
    case .encryptionRequired: record.refusedAuthentications += 1
    case .starttlsKeyword, .lastStarttlsKeyword, .readyForTLS, .goodbye, .serverFailed, .serverUnavailable, .timedOut,
      .tooManyCommands, .resetFailed, .tlsUnavailable, .badResponse, .tlsRequired, .chunkTooLarge, .wrongProtocol,
      .injectedPlaintext:
      break
    }
    if !toClient.append(reply.text) { loseClient() }
    clientHold.removeAll()
  }

  /// Writes a held line with CRLF in place of its line end, and with the fourth octet that `separator` requires.
  private func write(_ hold: inout ByteQueue, _ separator: SMTPSession.ReplySeparator, to queue: inout ByteQueue) {
    hold.removeLineEnd()
    var fits = true
    let octet: UInt8?
    switch separator {
    case .kept: octet = nil
    case .hyphen: octet = 0x2D
    case .space: octet = 0x20
    }
    if let octet {
      fits = hold.move(3, to: &queue) && queue.append(octet)
      hold.removeFirst(1)
    }
    fits = hold.move(hold.count, to: &queue) && queue.append("\r\n") && fits
    hold.removeAll()
    // There is always room, because octets are passed to the session only while there is. If this ever fails, ending
    // the session is better than truncating a line.
    if !fits { loseClient() }
  }

  private func endServer() {
    server = nil
    serverEnded = false
    serverBroken = false
    toServer.removeAll()
    replyHold.removeAll()
    earlierHold.removeAll()
    host.endServer()
  }

  private func handoff(_ proof: SMTPSession.Handoff) {
    guard let client = clear.take() else { return }
    decide(.handoff)
    stream = host.handoff(proof, client)
  }

  private func restart() -> SMTPSession.Command {
    guard let facts = record.tls else { return session.serverRestarted(.failed) }
    switch host.restart(facts) {
    case .started(let socket):
      server = ServerConnection(socket)
      serverParty = .newServer
      return session.serverRestarted(.greeting)
    case .pending:
      return .keep
    case .failed(let why):
      record.failure = why
      return session.serverRestarted(.failed)
    }
  }

  /// Reports the result of a restart that was `.pending`. Call `turn` after it.
  public func serverRestarted(_ start: consuming ServerStart) {
    guard state == .session, session.phase == .restarting else { return }
    switch consume start {
    case .started(let socket):
      server = ServerConnection(socket)
      serverParty = .newServer
      act(session.serverRestarted(.greeting))
    case .pending:
      return
    case .failed(let why):
      record.failure = why
      act(session.serverRestarted(.failed))
    }
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
    record.endedAt = now
    state = .finished
    clear = nil
    stream = nil
    server = nil
    toClient.removeAll()
    toServer.removeAll()
    decrypted.removeAll()
    clientHold.removeAll()
    replyHold.removeAll()
    earlierHold.removeAll()
    return true
  }
}
