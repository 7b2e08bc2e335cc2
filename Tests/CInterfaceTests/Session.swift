// Session: both at once, the Swift session and the C one, in step.
//
// This module is the property tests once more (the folder Properties), and this type takes the place of `SMTPState.Session`
// in them. Every event goes to both; every command, count, interest, deadline and phase is compared. So all that is tested of
// the Swift interface - transcripts with every cut, attacks, promises, misuse - is tested of the C one.

import CSMTPState
import SMTPState

struct Session: Sendable {
  private var swift: SMTPState.Session
  private var c = smtpstate_session()

  init(_ policy: Policy) {
    swift = SMTPState.Session(policy)
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

  mutating func next() -> Command { compare(smtpstate_session_next(&c), swift.next()) }

  mutating func ended(_ party: Party) -> Command { compare(smtpstate_session_ended(&c, party.c), swift.ended(party)) }

  mutating func drained() -> Command { compare(smtpstate_session_drained(&c), swift.drained()) }

  mutating func looked(_ first: UInt8?, ended: Bool) -> Command {
    let octet = first.map(CInt.init) ?? SMTPSTATE_NO_OCTET
    return compare(smtpstate_session_looked(&c, octet, ended), swift.looked(first, ended: ended))
  }

  mutating func unavailable() -> Command { compare(smtpstate_session_unavailable(&c), swift.unavailable()) }

  mutating func secured(_ outcome: SecuredOutcome) -> Command {
    compare(smtpstate_session_secured(&c, outcome.c), swift.secured(outcome))
  }

  mutating func restarted(_ outcome: RestartOutcome) -> Command {
    compare(smtpstate_session_restarted(&c, outcome.c), swift.restarted(outcome))
  }

  mutating func expired(_ kind: Deadline) -> Command {
    compare(smtpstate_session_expired(&c, kind.c), swift.expired(kind))
  }

  // MARK: - Questions

  var interest: Interest { swift.interest }
  var deadline: Deadline { swift.deadline }
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
      check(smtpstate_session_deadline(c), swift.deadline.c, "deadline")
      check(smtpstate_session_phase(c), swift.phase.c, "phase")
      check(smtpstate_session_is_final(c), swift.isFinal, "is final")
      check(smtpstate_session_is_clear_phase_over(c), swift.isClearPhaseOver, "is clear phase over")
    }
  }

  private func check<Value: Equatable>(_ got: Value, _ expected: Value, _ what: String) {
    if got != expected { Differences.add("\(what): \(got) for \(expected)") }
  }
}

extension Session: Equatable {
  static func == (one: Session, other: Session) -> Bool {
    let areEqual = one.swift == other.swift
    let areEqualInC = withUnsafePointer(to: one.c) { one in
      withUnsafePointer(to: other.c) { smtpstate_session_equal(one, $0) }
    }
    Differences.check(areEqual == areEqualInC, "equal in C: \(areEqualInC), in Swift: \(areEqual)")
    return areEqual
  }
}
