// CConversation: the functions of smtpstate.h that take a conversation.
//
// Purpose: a session with its holds and outputs, in memory that the caller owns.
// Contract: see smtpstate.h. The conversation is stored after a seal, like a session (CSession.swift).
// Failure: if the seal is wrong, nothing else is read. Then no party is wanted, and the decision is CLOSE with reason MISUSE.

public import CSMTPState

#if !SINGLE_MODULE
  import SMTPState
#endif

/// The seal: "smtpcv" in ASCII, and the version of the interface.
private var seal: UInt64 { 0x736D_7470_6376_0000 | UInt64(SMTPSTATE_ABI_VERSION) }
private var offset: Int { MemoryLayout<UInt64>.size }

/// Whether the structure in the header is large enough. A constant; a test checks it.
private var fits: Bool {
  offset + MemoryLayout<ConversationCore>.size <= MemoryLayout<smtpstate_conversation>.size
    && MemoryLayout<ConversationCore>.alignment <= MemoryLayout<smtpstate_conversation>.alignment
}

/// The address of the conversation; nil if the pointer is NULL or the seal is wrong.
private func place(_ pointer: UnsafePointer<smtpstate_conversation>?) -> UnsafeMutablePointer<ConversationCore>? {
  guard fits, let start = UnsafeRawPointer(pointer), start.load(as: UInt64.self) == seal else { return nil }
  return UnsafeMutableRawPointer(mutating: start + offset).assumingMemoryBound(to: ConversationCore.self)
}

@c(smtpstate_conversation_memory_size) @implementation
public func smtpstate_conversation_memory_size(_ policy: UnsafePointer<smtpstate_policy>?) -> Int {
  guard let policy = Policy(from: policy) else { return 0 }
  return ConversationCore.memorySize(policy)
}

@c(smtpstate_conversation_init) @implementation
public func smtpstate_conversation_init(
  _ conversation: UnsafeMutablePointer<smtpstate_conversation>?, _ policy: UnsafePointer<smtpstate_policy>?,
  _ memory: UnsafeMutableRawPointer?, _ size: Int
) -> Bool {
  guard let conversation else { return false }
  let policy = Policy(from: policy)
  conversation.initialize(to: smtpstate_conversation())
  // `size` is a size_t: a number over the largest Int arrives negative.
  guard fits, let policy, let memory, UInt(bitPattern: size) >= UInt(ConversationCore.memorySize(policy)) else { return false }
  var core = ConversationCore(policy)
  core.memory = memory
  let start = UnsafeMutableRawPointer(conversation)
  (start + offset).initializeMemory(as: ConversationCore.self, to: core)
  start.storeBytes(of: seal, as: UInt64.self)
  return true
}

// MARK: - What to wait for

@c(smtpstate_conversation_wants) @implementation
public func smtpstate_conversation_wants(
  _ conversation: UnsafePointer<smtpstate_conversation>?, _ party: smtpstate_party
) -> Bool {
  guard let party = Party(number: party.rawValue) else { return false }
  return place(conversation)?.pointee.wants(party) ?? false
}

@c(smtpstate_conversation_output) @implementation
public func smtpstate_conversation_output(
  _ conversation: UnsafePointer<smtpstate_conversation>?, _ party: smtpstate_party, _ count: UnsafeMutablePointer<Int>?
) -> UnsafeRawPointer? {
  count?.pointee = 0
  guard let party = Party(number: party.rawValue), let core = place(conversation) else { return nil }
  let output = core.pointee.outputOctets(to: party)
  count?.pointee = output.count
  return UnsafeRawPointer(output.baseAddress)
}

@c(smtpstate_conversation_deadline) @implementation
public func smtpstate_conversation_deadline(
  _ conversation: UnsafePointer<smtpstate_conversation>?
) -> smtpstate_deadline {
  smtpstate_deadline(UInt32(place(conversation)?.pointee.session.deadline?.number ?? 0))
}

@c(smtpstate_conversation_timer_starts) @implementation
public func smtpstate_conversation_timer_starts(_ conversation: UnsafePointer<smtpstate_conversation>?) -> UInt32 {
  place(conversation)?.pointee.timerStarts ?? 0
}

@c(smtpstate_conversation_phase) @implementation
public func smtpstate_conversation_phase(_ conversation: UnsafePointer<smtpstate_conversation>?) -> smtpstate_phase {
  guard let core = place(conversation)?.pointee else { return SMTPSTATE_PHASE_NONE }
  return smtpstate_phase(UInt32(core.session.phase.number))
}

@c(smtpstate_conversation_is_final) @implementation
public func smtpstate_conversation_is_final(_ conversation: UnsafePointer<smtpstate_conversation>?) -> Bool {
  place(conversation)?.pointee.session.isFinal ?? true
}

@c(smtpstate_conversation_is_clear_phase_over) @implementation
public func smtpstate_conversation_is_clear_phase_over(
  _ conversation: UnsafePointer<smtpstate_conversation>?
) -> Bool {
  place(conversation)?.pointee.session.isClearPhaseOver ?? true
}

// MARK: - Events

@c(smtpstate_conversation_receive) @implementation
public func smtpstate_conversation_receive(
  _ conversation: UnsafeMutablePointer<smtpstate_conversation>?, _ party: smtpstate_party, _ octets: UnsafeRawPointer?,
  _ count: Int
) -> Int {
  guard let core = place(conversation) else { return 0 }
  guard let party = Party(number: party.rawValue), count >= 0, octets != nil || count == 0 else {
    core.pointee.misused()
    return 0
  }
  guard let octets else { return 0 }
  let span = Span<UInt8>(_unsafeStart: octets.assumingMemoryBound(to: UInt8.self), count: count)
  return core.pointee.receive(span, from: party)
}

@c(smtpstate_conversation_input_ended) @implementation
public func smtpstate_conversation_input_ended(
  _ conversation: UnsafeMutablePointer<smtpstate_conversation>?, _ party: smtpstate_party
) {
  guard let core = place(conversation) else { return }
  guard let party = Party(number: party.rawValue) else { return core.pointee.misused() }
  core.pointee.inputEnded(from: party)
}

@c(smtpstate_conversation_sent) @implementation
public func smtpstate_conversation_sent(
  _ conversation: UnsafeMutablePointer<smtpstate_conversation>?, _ party: smtpstate_party, _ count: Int
) {
  guard let core = place(conversation) else { return }
  guard let party = Party(number: party.rawValue), count >= 0 else { return core.pointee.misused() }
  core.pointee.sent(count, to: party)
}

@c(smtpstate_conversation_tls_unavailable) @implementation
public func smtpstate_conversation_tls_unavailable(_ conversation: UnsafeMutablePointer<smtpstate_conversation>?) {
  place(conversation)?.pointee.tlsUnavailable()
}

@c(smtpstate_conversation_peeked) @implementation
public func smtpstate_conversation_peeked(
  _ conversation: UnsafeMutablePointer<smtpstate_conversation>?, _ first: Int32, _ ended: Bool
) {
  guard let core = place(conversation) else { return }
  if first == SMTPSTATE_NO_OCTET { return core.pointee.peeked(nil, ended: ended) }
  guard let octet = UInt8(exactly: first) else { return core.pointee.misused() }
  core.pointee.peeked(octet, ended: ended)
}

@c(smtpstate_conversation_handshake_finished) @implementation
public func smtpstate_conversation_handshake_finished(
  _ conversation: UnsafeMutablePointer<smtpstate_conversation>?, _ outcome: smtpstate_handshake
) {
  guard let core = place(conversation) else { return }
  guard let outcome = HandshakeOutcome(number: outcome.rawValue) else { return core.pointee.misused() }
  core.pointee.handshakeFinished(outcome)
}

@c(smtpstate_conversation_server_restarted) @implementation
public func smtpstate_conversation_server_restarted(
  _ conversation: UnsafeMutablePointer<smtpstate_conversation>?, _ outcome: smtpstate_restarted
) {
  guard let core = place(conversation) else { return }
  guard let outcome = RestartOutcome(number: outcome.rawValue) else { return core.pointee.misused() }
  core.pointee.serverRestarted(outcome)
}

@c(smtpstate_conversation_timer_expired) @implementation
public func smtpstate_conversation_timer_expired(
  _ conversation: UnsafeMutablePointer<smtpstate_conversation>?, _ kind: smtpstate_deadline
) {
  guard let core = place(conversation), kind != SMTPSTATE_DEADLINE_NONE else { return }
  guard let kind = Deadline(number: kind.rawValue) else { return core.pointee.misused() }
  core.pointee.timerExpired(kind)
}

// MARK: - Decisions

@c(smtpstate_conversation_next_decision) @implementation
public func smtpstate_conversation_next_decision(
  _ conversation: UnsafeMutablePointer<smtpstate_conversation>?
) -> smtpstate_command {
  guard let core = place(conversation) else { return .misuse }
  guard let decision = core.pointee.nextDecision() else { return smtpstate_command() }
  return smtpstate_command(decision.command)
}
