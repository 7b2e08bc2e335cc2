// What each of the session's commands does.

import Glibc
import SMTPState

extension Driver {
  /// Carries a command out, and all that follow from it.
  func act(_ first: Command) {
    var command = first
    while true {
      carryOut(command)
      if command.restartsTimer { arm() }
      switch command {
      case .look(let party): command = look(at: party)
      case .restart: command = restart()
      default:
        guard state != .finished, session.interest == .again else { return rearmIfChanged() }
        command = session.next()
      }
    }
  }

  private func carryOut(_ command: Command) {
    switch command {
    case .keep, .look, .restart: break
    case .drop(.client): clientHold.removeAll()
    case .drop(.reply):
      if session.phase == .negotiating && (lastVerb == .ehlo || lastVerb == .lhlo) { record.tookOutKeywords = true }
      replyHold.removeAll()
    case .forward(let verb):
      if verb == .ehlo || verb == .helo || verb == .lhlo { record.noteHelo(clientHold) }
      lastVerb = verb
      write(&clientHold, .kept, to: &toServer)
    case .pass(let fourth):
      isMidReply = Driver.isContinued(replyHold, fourth)
      write(&replyHold, fourth, to: &toClient)
    case .passEarlier(let fourth):
      isMidReply = Driver.isContinued(earlierHold, fourth)
      write(&earlierHold, fourth, to: &toClient)
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

  /// Whether a reply's line says that another one follows (RFC 5321, 4.2.1).
  private static func isContinued(_ line: borrowing ByteQueue, _ fourth: Fourth) -> Bool {
    switch fourth {
    case .kept: line[3] == 0x2D
    case .hyphen: true
    case .space: false
    }
  }

  private func say(_ reply: Reply) {
    // `250-STARTTLS` is followed by another line of the server's reply.
    isMidReply = reply == .starttlsKeyword
    if !toClient.append(reply.text) { loseClient() }
    clientHold.removeAll()
  }

  /// Writes a held line without its line end and with CRLF, its fourth octet as told.
  private func write(_ hold: inout ByteQueue, _ fourth: Fourth, to queue: inout ByteQueue) {
    hold.removeLineEnd()
    var fits = true
    let octet: UInt8?
    switch fourth {
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
    // There is always room, since octets are shown only while there is. If not, better an end than a line cut short.
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

  private func handoff(_ proof: Handoff) {
    guard let client = clear.take() else { return }
    decide(.handoff)
    stream = host.handoff(proof, client)
  }

  private func restart() -> Command {
    guard let facts = record.tls else { return session.restarted(.failed) }
    switch host.restart(facts) {
    case .started(let socket):
      server = ServerConnection(socket)
      serverParty = .newServer
      return session.restarted(.greeting)
    case .pending:
      return .keep
    case .failed(let why):
      record.failure = why
      return session.restarted(.failed)
    }
  }

  /// Tells the outcome of a restart that was `.pending`. Call `turn` behind it.
  public func restarted(_ start: consuming ServerStart) {
    guard state == .session, session.phase == .restarting else { return }
    switch consume start {
    case .started(let socket):
      server = ServerConnection(socket)
      serverParty = .newServer
      act(session.restarted(.greeting))
    case .pending:
      return
    case .failed(let why):
      record.failure = why
      act(session.restarted(.failed))
    }
  }

  /// Everything ends now. Whoever leaves undecided has abandoned STARTTLS.
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
