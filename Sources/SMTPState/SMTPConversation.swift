// SMTPConversation: a session with its buffers, for callers that do not keep holds themselves.
//
// Purpose: octets of both sides go in; octets for both sides, and a few decisions, come out. It has no I/O and no clock.
// Contract: the caller sends the outputs, waits for octets that are wanted, runs two timers, and carries out decisions. See
// `nextDecision`.
// Failure: as for the session. A peer's fault leads to a reply or to a close with a reason; nothing traps.

/// One SMTP session with its buffers.
///
/// ```swift
/// var conversation = SMTPConversation(SMTPSession.Policy())
/// // Octets have arrived from the client: remove those that were consumed, leave the others in the input.
/// if conversation.wants(.client) { input.removeFirst(conversation.receive(input.span, from: .client)) }
/// while let decision = conversation.nextDecision() { carryOut(decision) }
/// conversation.withOutput(to: .client) { socket.send($0) }
/// ```
///
/// After every event fetch all decisions, then send. No octet after STARTTLS is consumed, so it can reach only the TLS
/// layer: peek (`recv` with `MSG_PEEK`), or give the rest of your own buffer to the TLS layer.
///
/// The buffers are allocated when they are needed; `releaseMemory` frees them while they are empty.
public struct SMTPConversation: ~Copyable {
  private var core: ConversationCore

  /// Creates a conversation that waits for the server's greeting.
  public init(_ policy: SMTPSession.Policy) {
    core = ConversationCore(policy)
  }

  #if !hasFeature(Embedded)
    deinit {
      core.memory?.deallocate()
    }
  #endif
}

extension SMTPConversation {
  /// One thing that the caller of a conversation has to do.
  public enum Decision: Equatable, Sendable {
    /// Look whether an octet of that party has arrived, without consuming it; answer with `peeked`. Look first in the caller's own
    /// buffer, if there is one.
    case peek(SMTPSession.Party)
    /// Give the client's connection to the TLS layer, which reads the first octet that was not consumed; answer with
    /// `handshakeFinished`.
    case handoff(SMTPSession.Handoff)
    /// STARTTLS can no longer be requested: end the TLS helper. The conversation continues.
    case abort(SMTPSession.Reason)
    /// Close the connection to the server of the clear phase.
    case endServer
    /// Start a new server; answer with `serverRestarted`.
    case restart
    /// Send the rest of both outputs, then copy octets both ways until both sides have ended. Final.
    case relay
    /// Send the rest of the client's output, then close. Final.
    case close(SMTPSession.Reason)
  }
}

#if !hasFeature(Embedded)
  extension SMTPConversation {
    // MARK: What to wait for

    /// Whether octets of that party are accepted now. If not, leave them unread; this gives back-pressure.
    public func wants(_ party: SMTPSession.Party) -> Bool { core.wants(party) }

    /// What the session waits for, whether or not the outputs have room: `wants` takes both into account.
    public var interest: SMTPSession.Interest { core.session.interest }

    /// Whether the output to the client has room for everything that one more line can lead to. Without it no party is
    /// wanted: stop reading until the client has taken some of the output, and suspend the timer of `deadline` meanwhile.
    public var hasRoomForReplies: Bool { core.hasRoomForReplies }

    /// How many octets are to be sent to that party.
    public func outputCount(to party: SMTPSession.Party) -> Int { core.output(to: party).count }

    /// The kind of timer that runs now, nil for none. The policy has its length.
    public var deadline: SMTPSession.Deadline? { core.session.deadline }

    /// A number that changes whenever that timer must be started again.
    public var timerStarts: UInt32 { core.timerStarts }

    // MARK: Events

    /// Octets of a party have arrived: those that were not consumed before.
    ///
    /// - Returns: how many octets were consumed. 0 if the party is not wanted.
    public mutating func receive(_ octets: Span<UInt8>, from party: SMTPSession.Party) -> Int {
      allocate()
      return core.receive(octets, from: party)
    }

    /// The input of that party has ended, and none of its octets is left. Do not report the end of the client between
    /// `Decision.handoff` and `handshakeFinished`: it belongs to the TLS layer then.
    public mutating func inputEnded(from party: SMTPSession.Party) {
      allocate()
      core.inputEnded(from: party)
    }

    /// Calls the closure with the octets to be sent to a party, and removes as many as it returns.
    public mutating func withOutput(to party: SMTPSession.Party, _ send: (Span<UInt8>) -> Int) {
      guard let memory = core.memory else { return }
      let output = core.output(to: party)
      guard !output.isEmpty else { return }
      core.sent(send(Span(_unsafeStart: output.octets(memory), count: output.count)), to: party)
    }

    /// The connection to that party accepts no more octets: discard those that were to be sent.
    public mutating func dropOutput(to party: SMTPSession.Party) {
      guard core.memory != nil else { return }
      core.sent(Int.max, to: party)
    }

    /// TLS is not available: the TLS helper has ended, or there is no certificate. Valid at any time before the 220, also in place
    /// of `peeked`, and before `Decision.peek` was fetched: then there is no such decision any more. After the 220 this changes
    /// nothing.
    public mutating func tlsUnavailable() {
      allocate()
      core.tlsUnavailable()
    }

    /// Answers `Decision.peek`: the party's next octet, nil if none has arrived; and whether the party's input has ended.
    public mutating func peeked(_ first: UInt8?, ended: Bool) {
      allocate()
      core.peeked(first, ended: ended)
    }

    /// Answers `Decision.handoff`.
    public mutating func handshakeFinished(_ outcome: SMTPSession.HandshakeOutcome) {
      allocate()
      core.handshakeFinished(outcome)
    }

    /// Answers `Decision.restart`.
    public mutating func serverRestarted(_ outcome: SMTPSession.RestartOutcome) {
      allocate()
      core.serverRestarted(outcome)
    }

    /// That timer expired. Changes nothing if it was not running.
    public mutating func timerExpired(_ kind: SMTPSession.Deadline) {
      allocate()
      core.timerExpired(kind)
    }

    // MARK: Decisions

    /// The next decision to carry out; nil if there is none. Carry it out before the next call. `peek`, `handoff` and `restart`
    /// require an answer, at once or later; report other events meanwhile as usual.
    public mutating func nextDecision() -> Decision? {
      // Without buffers nothing has happened since the last decision, see `releaseMemory`.
      core.memory == nil ? nil : core.nextDecision()
    }

    // MARK: State that can be read at any time

    /// The current phase.
    public var phase: SMTPSession.Phase { core.session.phase }
    /// True once `relay` or `close` was decided. No decision follows.
    public var isFinal: Bool { core.session.isFinal }
    /// True once `handoff` or `abort` was decided. The timer `.clearPhase` runs until then.
    public var isClearPhaseOver: Bool { core.session.isClearPhaseOver }
    /// The verb of the line that was forwarded last.
    public var lastVerb: SMTPSession.Verb { core.lastVerb }
    /// Calls the closure with that line as it is sent, until some of it was sent; then with no octets. For a log: the line of EHLO,
    /// HELO or LHLO has the client's name, and no other line is forwarded until its reply has come. The line of AUTH may have a
    /// password.
    public func withLastLine(_ read: (Span<UInt8>) -> Void) {
      read(core.lastLine.span)
    }

    /// Whether a reply that answers no command may be sent to the client now, after the output: `421 4.3.2` before the caller
    /// stops (RFC 5321, 3.8). False in the middle of a reply, from the 220 to the end of the handshake, and at the end.
    public var allowsReply: Bool { core.allowsReply }

    /// Whether a keyword was taken out of a reply to EHLO in clear. After MAIL the server's replies pass unchanged, and the
    /// client can see that keyword.
    public var hasTakenOutKeywords: Bool { core.hasTakenOutKeywords }
    /// How many lines of the client were refused as junk: malformed, unknown, or out of sequence.
    public var junkLines: Int { Int(core.junkLines) }
    /// How many AUTH commands were refused, by the session in clear or by the server.
    public var refusedAuthentications: Int { Int(core.refusedAuthentications) }

    /// How many of the client's next octets belong to a chunk that is skipped.
    package var chunkLeft: Int { core.session.client.chunkLeft }
    /// Whether the client's line is a line of a SASL exchange, which may have a password.
    package var isInResponse: Bool { core.session.client.isResponse }

    // MARK: Memory

    /// Frees the buffers if they are empty and no decision is pending, so that an idle conversation has none.
    public mutating func releaseMemory() {
      if core.isIdle { free() }
    }

    /// The connections are closed: discards all octets and frees the buffers. No event may follow.
    public mutating func discard() {
      core.discard()
      free()
    }

    private mutating func free() {
      core.memory?.deallocate()
      core.memory = nil
    }

    private mutating func allocate() {
      if core.memory == nil { core.memory = .allocate(byteCount: core.buffers.size, alignment: 1) }
    }
  }
#endif

extension SMTPConversation.Decision {
  /// The command from which it was made.
  package var command: Command {
    switch self {
    case .peek(let party): .peek(party)
    case .handoff(let proof): .handoff(proof)
    case .abort(let reason): .abort(reason)
    case .endServer: .endServer
    case .restart: .restart
    case .relay: .relay
    case .close(let reason): .close(reason)
    }
  }
}
