// Session: both at once, the Swift session and the C one, in step.
//
// This module is the property tests once more (the folder Properties), and this type takes the place of `SMTPState.SMTPSession`
// in them. Every event goes to both; every command, count, interest, deadline and phase is compared. So all that is tested of
// the Swift interface - transcripts with every cut, attacks, promises, misuse - is tested of the C one.

import CSMTPState
import SMTPState

struct SMTPSession: Sendable {
  private var swift: SMTPState.SMTPSession
  private var c = smtpstate_session()

  init(_ policy: Policy) {
    swift = SMTPState.SMTPSession(policy)
    var same = smtpstate_policy(as: policy)
    Differences.check(smtpstate_session_init(&c, &same), "the policy was refused")
    check(smtpstate_policy_client_hold_capacity(&same), policy.clientHoldCapacity, "the client's hold")
    check(smtpstate_policy_reply_hold_capacity(&same), policy.replyHoldCapacity, "the replies' holds")
    compareState()
  }

  // MARK: - Events

  mutating func receive(_ octets: Span<UInt8>, from party: Party) -> Step {
    let expected = swift.receive(octets, from: party)
    let got = octets.withUnsafeBufferPointer { smtpstate_session_receive(&c, party.c, $0.baseAddress, $0.count) }
    check(got.consumed, expected.consumed, "consumed")
    compare(got.command, expected.command)
    return expected
  }

  mutating func nextCommand() -> Command { compare(smtpstate_session_next_command(&c), swift.nextCommand()) }

  mutating func inputEnded(from party: Party) -> Command { compare(smtpstate_session_input_ended(&c, party.c), swift.inputEnded(from: party)) }

  mutating func outputDrained() -> Command { compare(smtpstate_session_output_drained(&c), swift.outputDrained()) }

  mutating func peeked(_ first: UInt8?, ended: Bool) -> Command {
    let octet = first.map(CInt.init) ?? SMTPSTATE_NO_OCTET
    return compare(smtpstate_session_peeked(&c, octet, ended), swift.peeked(first, ended: ended))
  }

  mutating func tlsUnavailable() -> Command { compare(smtpstate_session_tls_unavailable(&c), swift.tlsUnavailable()) }

  mutating func handshakeFinished(_ outcome: HandshakeOutcome) -> Command {
    compare(smtpstate_session_handshake_finished(&c, outcome.c), swift.handshakeFinished(outcome))
  }

  mutating func serverRestarted(_ outcome: RestartOutcome) -> Command {
    compare(smtpstate_session_server_restarted(&c, outcome.c), swift.serverRestarted(outcome))
  }

  mutating func timerExpired(_ kind: Deadline) -> Command {
    compare(smtpstate_session_timer_expired(&c, kind.c), swift.timerExpired(kind))
  }

  // MARK: - Questions

  var interest: Interest { swift.interest }
  var deadline: Deadline? { swift.deadline }
  var phase: Phase { swift.phase }
  var isFinal: Bool { swift.isFinal }
  var isClearPhaseOver: Bool { swift.isClearPhaseOver }

  // MARK: - In step

  @discardableResult
  private func compare(_ got: smtpstate_command, _ expected: Command) -> Command {
    Differences.compared()
    if !got.isSame(as: expected) { Differences.add("\(got) for \(expected)") }
    compareState()
    return expected
  }

  private func compareState() {
    withUnsafePointer(to: c) { c in
      check(smtpstate_session_interest(c), swift.interest.bits, "interest")
      check(smtpstate_session_deadline(c), swift.deadline?.c ?? SMTPSTATE_DEADLINE_NONE, "deadline")
      check(smtpstate_session_phase(c), swift.phase.c, "phase")
      check(smtpstate_session_is_final(c), swift.isFinal, "is final")
      check(smtpstate_session_is_clear_phase_over(c), swift.isClearPhaseOver, "is clear phase over")
    }
  }

  private func check<Value: Equatable>(_ got: Value, _ expected: Value, _ what: String) {
    if got != expected { Differences.add("\(what): \(got) for \(expected)") }
  }
}

extension SMTPSession: Equatable {
  static func == (one: SMTPSession, other: SMTPSession) -> Bool {
    let areEqual = one.swift == other.swift
    let areEqualInC = withUnsafePointer(to: one.c) { one in
      withUnsafePointer(to: other.c) { smtpstate_session_equal(one, $0) }
    }
    Differences.check(areEqual == areEqualInC, "equal in C: \(areEqualInC), in Swift: \(areEqual)")
    return areEqual
  }
}
