// SMTPConversation: a session for those who do not want to keep holds.
//
// Purpose: octets of both sides go in; octets for both sides, and a few decisions, come out. Still no IO and no clock.
// Contract: four things are left to the caller: to send the outputs, to wait for what is wanted, to run one timer, and to
// carry out decisions. See `nextDecision`.
// Failure: as the session's. A peer's fault becomes a reply or a close with a reason; nothing traps.

#if !hasFeature(Embedded)
  /// One SMTP session with its buffers.
  ///
  /// ```swift
  /// var conversation = SMTPConversation(Policy())
  /// // Octets have arrived from the client: take as many as were consumed, leave the others where they are.
  /// if conversation.wants(.client) { input.removeFirst(conversation.receive(input.span, from: .client)) }
  /// while let decision = conversation.nextDecision() { carryOut(decision) }
  /// conversation.withOutput(to: .client) { socket.send($0) }
  /// ```
  ///
  /// After every event take all decisions, then send. An octet after STARTTLS is never consumed, so that it can only reach
  /// the TLS layer: peek (`recv` with `MSG_PEEK`), or give the rest of a buffer of your own to the TLS layer.
  ///
  /// The buffers are allocated when they are needed; `releaseMemory` gives them back while nothing is in them.
  public struct SMTPConversation: ~Copyable {
    private var core: ConversationCore

    /// A conversation that waits for the server's greeting.
    public init(_ policy: SMTPSession.Policy) {
      core = ConversationCore(policy)
    }

    deinit {
      core.memory?.deallocate()
    }

    // MARK: What to wait for

    /// Whether octets of that party are accepted now. If not, leave them unread: that is the back-pressure.
    public func wants(_ party: SMTPSession.Party) -> Bool { core.wants(party) }

    /// How many octets wait to be sent to that party.
    public func outputCount(to party: SMTPSession.Party) -> Int { core.output(to: party).count }

    /// The kind of timer that runs, nil for none; its length is the policy's.
    public var deadline: SMTPSession.Deadline? { core.session.deadline }

    /// Changes whenever that timer is to be started again.
    public var timerStarts: UInt32 { core.timerStarts }

    // MARK: Events

    /// Octets have arrived from a party: those that were not consumed before.
    ///
    /// - Returns: how many are consumed. 0 if the party is not wanted.
    public mutating func receive(_ octets: Span<UInt8>, from party: SMTPSession.Party) -> Int {
      allocate()
      return core.receive(octets, from: party)
    }

    /// That party's input has ended, and none of its octets is left.
    public mutating func inputEnded(from party: SMTPSession.Party) {
      allocate()
      core.inputEnded(from: party)
    }

    /// Shows the octets that wait for a party, and forgets as many as the closure says were sent.
    public mutating func withOutput(to party: SMTPSession.Party, _ send: (Span<UInt8>) -> Int) {
      guard let memory = core.memory else { return }
      let output = core.output(to: party)
      guard !output.isEmpty else { return }
      core.sent(send(Span(_unsafeStart: output.octets(memory), count: output.count)), to: party)
    }

    /// That party's connection takes nothing more: what waits for it is dropped.
    public mutating func dropOutput(to party: SMTPSession.Party) {
      core.sent(Int.max, to: party)
    }

    /// TLS cannot be had: the helper is gone, there is no certificate. After the 220 this changes nothing.
    public mutating func tlsUnavailable() {
      allocate()
      core.tlsUnavailable()
    }

    /// Answers `Decision.peek`: the party's next octet, nil if none waits; and whether it has ended.
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

    /// That timer passed. Changes nothing unless it runs.
    public mutating func timerExpired(_ kind: SMTPSession.Deadline) {
      allocate()
      core.timerExpired(kind)
    }

    // MARK: Decisions

    /// The next thing to do; nil when nothing is left. Carry it out before the next call. `peek`, `handoff` and
    /// `restart` want an answer, at once or later; everything else that happens meanwhile is an event as always.
    public mutating func nextDecision() -> Decision? {
      allocate()
      return core.nextDecision()
    }

    // MARK: What can be asked at any time

    /// Where the session is.
    public var phase: SMTPSession.Phase { core.session.phase }
    /// Whether `relay` or `close` was decided.
    public var isFinal: Bool { core.session.isFinal }
    /// Whether TLS was started or dismissed: the timer `.clearPhase` runs until then.
    public var isClearPhaseOver: Bool { core.session.isClearPhaseOver }
    /// The verb of the line that was forwarded last.
    public var lastVerb: SMTPSession.Verb { core.lastVerb }
    /// Whether a keyword was taken out of a reply to EHLO in clear: after MAIL the server's own replies pass unchanged.
    public var hasTakenOutKeywords: Bool { core.hasTakenOutKeywords }

    // MARK: Memory

    /// Gives the buffers back if nothing is in them. An idle conversation costs no buffer then.
    public mutating func releaseMemory() {
      guard core.buffers.areEmpty else { return }
      core.memory?.deallocate()
      core.memory = nil
    }

    private mutating func allocate() {
      if core.memory == nil { core.memory = .allocate(byteCount: core.buffers.size, alignment: 1) }
    }
  }
#endif
