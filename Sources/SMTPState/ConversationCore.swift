// ConversationCore: a session, its three holds and its two outputs. SMTPConversation and the C functions share it.
//
// Purpose: carry out every command that only moves octets, and return the other ones to the caller as decisions.
// Contract: one event at a time. After each event call `nextDecision` until it returns nil. Octets are accepted only while both
// outputs have room for everything that one line can lead to, so an append does not fail.
// Failure: as for the session. If an append fails nevertheless, the defect is in this file: it closes with the reason misuse.

package struct ConversationCore {
  package var session: SMTPSession
  var buffers: ConversationBuffers
  /// The block that `buffers` describes. While it is nil no command is carried out.
  package var memory: UnsafeMutableRawPointer?

  /// How many times the session's timer was started. When the number changes, start the timer again.
  package var timerStarts: UInt32 = 1
  /// The verb that was forwarded last.
  var lastVerb = Verb.other
  /// The number of octets of that line, which are the last ones in the output to the server; 0 once some of it was sent.
  var lastLineLength = 0
  /// Whether a keyword was taken out of a reply to EHLO in clear.
  var hasTakenOutKeywords = false
  /// How many lines were refused as junk, and how many AUTH commands were refused.
  var junkLines: UInt16 = 0
  var refusedAuthentications: UInt16 = 0

  /// The decision that the caller has not fetched yet.
  var decision: Decision?
  /// The kind of timer that was started last.
  var timer: Deadline?
  // Ends that were reported and not yet given to the session.
  private var hasClientEnded = false
  private var endedServer: Party?

  /// The size of the block of memory that a conversation of this policy needs, in octets.
  package static func memorySize(_ policy: Policy) -> Int { ConversationBuffers(Limits(policy)).size }

  package init(_ policy: Policy) {
    session = SMTPSession(policy)
    buffers = ConversationBuffers(session.limits)
    timer = session.deadline
  }

  // MARK: What to wait for

  /// Whether octets of that party are accepted now.
  package func wants(_ party: Party) -> Bool {
    guard decision == nil, hasRoomForReplies else { return false }
    switch party {
    case .client: return session.interest == .both && buffers.toServer.room >= buffers.serverRoom
    case .server: return !session.hasNewServer && isServerWanted
    case .newServer: return session.hasNewServer && isServerWanted
    }
  }

  /// Whether the output to the client has room for everything that one line of either side can lead to.
  var hasRoomForReplies: Bool { buffers.toClient.room >= buffers.clientRoom }

  /// Whether a reply that answers no command may come after the output to the client.
  var allowsReply: Bool {
    guard decision == nil, session.interest != .again, !session.isMidReply else { return false }
    switch session.phase {
    case .greeting, .negotiating, .peekingBeforeReset, .resetting, .peekingAtServer, .peekingAtClient, .restarting,
      .regreeting, .secured, .quitting:
      return true
    case .promised, .handshaking, .refusing, .relaying, .closed:
      return false
    }
  }

  private var isServerWanted: Bool { session.interest == .both || session.interest == .server }

  // MARK: Events

  package mutating func receive(_ octets: Span<UInt8>, from party: Party) -> Int {
    var consumed = 0
    while consumed < octets.count, wants(party) {
      let rest = octets.extracting(droppingFirst: consumed)
      let step = session.receive(rest, from: party)
      guard step.consumed > 0 else { break }
      consumed += step.consumed
      take(rest.extracting(first: step.consumed), from: party, step.command)
    }
    settle()
    return consumed
  }

  package mutating func inputEnded(from party: Party) {
    switch party {
    case .client: hasClientEnded = true
    case .server, .newServer: endedServer = party
    }
    settle()
  }

  package mutating func sent(_ count: Int, to party: Party) {
    guard count > 0 else { return }
    if party == .client {
      buffers.toClient.removeFirst(count)
    } else {
      buffers.toServer.removeFirst(count)
      if buffers.toServer.count < lastLineLength { lastLineLength = 0 }
    }
    settle()
  }

  package mutating func tlsUnavailable() {
    carryOut(session.tlsUnavailable())
    // It answers a peek, also one that the caller has not fetched. An answer to that one would be misuse.
    if case .peek = decision, session.phase == .negotiating { decision = nil }
    settle()
  }

  package mutating func peeked(_ first: UInt8?, ended: Bool) { tell { $0.peeked(first, ended: ended) } }
  package mutating func handshakeFinished(_ outcome: HandshakeOutcome) { tell { $0.handshakeFinished(outcome) } }
  package mutating func serverRestarted(_ outcome: RestartOutcome) { tell { $0.serverRestarted(outcome) } }
  package mutating func timerExpired(_ kind: Deadline) { tell { $0.timerExpired(kind) } }

  /// The caller broke the contract in a way that no event of the session expresses.
  package mutating func misused() { tell { $0.misuse() } }

  private mutating func tell(_ event: (inout SMTPSession) -> Command) {
    carryOut(event(&session))
    settle()
  }

  /// The connections are closed: empties all buffers.
  mutating func discard() {
    buffers.removeAll()
    lastLineLength = 0
  }

  /// Whether nothing is left to be carried out, so that the block can be replaced while the buffers are empty.
  var isIdle: Bool { decision == nil && session.interest != .again && buffers.areEmpty }

  /// The next decision; nil if there is none.
  package mutating func nextDecision() -> Decision? {
    settle()
    defer { decision = nil }
    return decision
  }

  /// Carries out the commands that are left, then delivers the events that waited for the last of them.
  private mutating func settle() {
    while decision == nil {
      switch session.interest {
      case .again: carryOut(session.nextCommand())
      case .drain where buffers.toClient.isEmpty && buffers.toServer.isEmpty: carryOut(session.outputDrained())
      case .server, .both, .drain, .nothing:
        if let party = endedServer {
          endedServer = nil
          carryOut(session.inputEnded(from: party))
        } else if hasClientEnded {
          hasClientEnded = false
          carryOut(session.inputEnded(from: .client))
        } else {
          return
        }
      }
    }
  }
}

extension ConversationCore {
  /// The octets to be sent to the client, or to the current server.
  func output(to party: Party) -> OctetBuffer { party == .client ? buffers.toClient : buffers.toServer }

  /// The octets to be sent to that party, valid until the next event or decision.
  package func outputOctets(to party: Party) -> UnsafeBufferPointer<UInt8> {
    let output = output(to: party)
    guard let memory, !output.isEmpty else { return UnsafeBufferPointer(start: nil, count: 0) }
    return UnsafeBufferPointer(start: output.octets(memory), count: output.count)
  }

  /// The line that was forwarded last, with its CRLF; without octets once some of it was sent. Valid until the next event.
  var lastLine: UnsafeBufferPointer<UInt8> {
    let output = buffers.toServer
    guard let memory, lastLineLength > 0 else { return UnsafeBufferPointer(start: nil, count: 0) }
    return UnsafeBufferPointer(start: output.octets(memory) + (output.count - lastLineLength), count: lastLineLength)
  }
}
