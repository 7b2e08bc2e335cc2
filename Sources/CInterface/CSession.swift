// CSession: the functions of smtpstate.h that take a session.
//
// A session lies in the caller's memory behind a seal, a number that neither zeroed memory nor a session of another
// version holds. Without it nothing is read but the seal. This is the only file that follows a caller's pointer to a session.

public import CSMTPState

#if !SINGLE_MODULE
  import SMTPState
#endif

// MARK: - A session in the caller's memory

/// The seal: "smtpst" in ASCII, and the version of the interface.
private var seal: UInt64 { 0x736D_7470_7374_0000 | UInt64(SMTPSTATE_ABI_VERSION) }

/// Where the session lies, behind the seal.
private var offset: Int { MemoryLayout<UInt64>.size }

/// Whether the header's structure is large enough and aligned for what is put there. A constant, so that the check costs
/// nothing; a test asserts it.
private var fits: Bool {
  offset + MemoryLayout<SMTPSession>.size <= MemoryLayout<smtpstate_session>.size
    && MemoryLayout<SMTPSession>.alignment <= MemoryLayout<smtpstate_session>.alignment
}

/// The session there; nil if there is none.
private func session(at pointer: UnsafePointer<smtpstate_session>?) -> SMTPSession? {
  guard fits, let place = UnsafeRawPointer(pointer), place.load(as: UInt64.self) == seal else { return nil }
  return place.load(fromByteOffset: offset, as: SMTPSession.self)
}

/// Lets something happen to the session there.
private func happen(
  _ pointer: UnsafeMutablePointer<smtpstate_session>?, _ event: (inout SMTPSession) -> Command
) -> smtpstate_command {
  guard var session = session(at: pointer), let place = UnsafeMutableRawPointer(pointer) else { return .misuse }
  let command = event(&session)
  place.storeBytes(of: session, toByteOffset: offset, as: SMTPSession.self)
  return smtpstate_command(command)
}

extension SMTPSession {
  /// The caller said something that means nothing. An answer that no command asked for is that for certain.
  fileprivate mutating func saidNonsense() -> Command {
    phase == .handshaking ? serverRestarted(.failed) : handshakeFinished(.failed)
  }
}

@c(smtpstate_session_init) @implementation
public func smtpstate_session_init(
  _ session: UnsafeMutablePointer<smtpstate_session>?, _ policy: UnsafePointer<smtpstate_policy>?
) -> Bool {
  guard let session else { return false }
  // Read first: a caller may keep its policy where the session will be.
  let policy = Policy(from: policy)
  session.initialize(to: smtpstate_session())
  guard fits, let policy else { return false }
  let place = UnsafeMutableRawPointer(session)
  place.storeBytes(of: SMTPSession(policy), toByteOffset: offset, as: SMTPSession.self)
  place.storeBytes(of: seal, as: UInt64.self)
  return true
}

@c(smtpstate_session_equal) @implementation
public func smtpstate_session_equal(
  _ one: UnsafePointer<smtpstate_session>?, _ other: UnsafePointer<smtpstate_session>?
) -> Bool {
  guard let one = session(at: one), let other = session(at: other) else { return false }
  return one == other
}

// MARK: - Events

@c(smtpstate_session_receive) @implementation
public func smtpstate_session_receive(
  _ session: UnsafeMutablePointer<smtpstate_session>?, _ party: smtpstate_party, _ octets: UnsafeRawPointer?,
  _ count: Int
) -> smtpstate_step {
  var consumed = 0
  let command = happen(session) { session in
    guard let party = Party(number: party.rawValue), count >= 0, octets != nil || count == 0 else {
      return session.saidNonsense()
    }
    guard let octets else { return .keep }
    let span = Span<UInt8>(_unsafeStart: octets.assumingMemoryBound(to: UInt8.self), count: count)
    let step = session.receive(span, from: party)
    consumed = step.consumed
    return step.command
  }
  return smtpstate_step(consumed: consumed, command: command)
}

@c(smtpstate_session_next_command) @implementation
public func smtpstate_session_next_command(_ session: UnsafeMutablePointer<smtpstate_session>?) -> smtpstate_command {
  happen(session) { $0.nextCommand() }
}

@c(smtpstate_session_input_ended) @implementation
public func smtpstate_session_input_ended(
  _ session: UnsafeMutablePointer<smtpstate_session>?, _ party: smtpstate_party
) -> smtpstate_command {
  happen(session) { session in
    guard let party = Party(number: party.rawValue) else { return session.saidNonsense() }
    return session.inputEnded(from: party)
  }
}

@c(smtpstate_session_output_drained) @implementation
public func smtpstate_session_output_drained(_ session: UnsafeMutablePointer<smtpstate_session>?) -> smtpstate_command {
  happen(session) { $0.outputDrained() }
}

@c(smtpstate_session_peeked) @implementation
public func smtpstate_session_peeked(
  _ session: UnsafeMutablePointer<smtpstate_session>?, _ first: Int32, _ ended: Bool
) -> smtpstate_command {
  happen(session) { session in
    if first == SMTPSTATE_NO_OCTET { return session.peeked(nil, ended: ended) }
    guard let octet = UInt8(exactly: first) else { return session.saidNonsense() }
    return session.peeked(octet, ended: ended)
  }
}

@c(smtpstate_session_tls_unavailable) @implementation
public func smtpstate_session_tls_unavailable(_ session: UnsafeMutablePointer<smtpstate_session>?) -> smtpstate_command {
  happen(session) { $0.tlsUnavailable() }
}

@c(smtpstate_session_handshake_finished) @implementation
public func smtpstate_session_handshake_finished(
  _ session: UnsafeMutablePointer<smtpstate_session>?, _ outcome: smtpstate_handshake
) -> smtpstate_command {
  happen(session) { session in
    guard let outcome = HandshakeOutcome(number: outcome.rawValue) else { return session.saidNonsense() }
    return session.handshakeFinished(outcome)
  }
}

@c(smtpstate_session_server_restarted) @implementation
public func smtpstate_session_server_restarted(
  _ session: UnsafeMutablePointer<smtpstate_session>?, _ outcome: smtpstate_restarted
) -> smtpstate_command {
  happen(session) { session in
    guard let outcome = RestartOutcome(number: outcome.rawValue) else { return session.saidNonsense() }
    return session.serverRestarted(outcome)
  }
}

@c(smtpstate_session_timer_expired) @implementation
public func smtpstate_session_timer_expired(
  _ session: UnsafeMutablePointer<smtpstate_session>?, _ kind: smtpstate_deadline
) -> smtpstate_command {
  happen(session) { session in
    // No timer: none that runs has expired.
    if kind == SMTPSTATE_DEADLINE_NONE { return .keep }
    guard let kind = Deadline(number: kind.rawValue) else { return session.saidNonsense() }
    return session.timerExpired(kind)
  }
}

// MARK: - Questions

@c(smtpstate_session_interest) @implementation
public func smtpstate_session_interest(_ pointer: UnsafePointer<smtpstate_session>?) -> UInt32 {
  (session(at: pointer)?.interest ?? .nothing).bits
}

@c(smtpstate_session_deadline) @implementation
public func smtpstate_session_deadline(_ pointer: UnsafePointer<smtpstate_session>?) -> smtpstate_deadline {
  smtpstate_deadline(UInt32(session(at: pointer)?.deadline?.number ?? 0))
}

@c(smtpstate_session_phase) @implementation
public func smtpstate_session_phase(_ pointer: UnsafePointer<smtpstate_session>?) -> smtpstate_phase {
  guard let session = session(at: pointer) else { return SMTPSTATE_PHASE_NONE }
  return smtpstate_phase(UInt32(session.phase.number))
}

@c(smtpstate_session_is_final) @implementation
public func smtpstate_session_is_final(_ pointer: UnsafePointer<smtpstate_session>?) -> Bool {
  session(at: pointer)?.isFinal ?? true
}

@c(smtpstate_session_is_clear_phase_over) @implementation
public func smtpstate_session_is_clear_phase_over(_ pointer: UnsafePointer<smtpstate_session>?) -> Bool {
  session(at: pointer)?.isClearPhaseOver ?? true
}
