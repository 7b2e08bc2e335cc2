// SMTPConversation: the Swift conversation and the C one, in step, like Session.swift does for the session.
//
// The tests of the folder Properties use this type in place of `SMTPState.SMTPConversation`. Every event goes to both; outputs,
// decisions, timers and phases are compared.

import CSMTPState
import SMTPState

struct SMTPConversation: ~Copyable {
  private var swift: SMTPState.SMTPConversation
  private let c: UnsafeMutablePointer<smtpstate_conversation>
  private let memory: UnsafeMutableRawBufferPointer

  init(_ policy: Policy) {
    swift = SMTPState.SMTPConversation(policy)
    var same = smtpstate_policy(as: policy)
    memory = .allocate(byteCount: smtpstate_conversation_memory_size(&same), alignment: 1)
    c = .allocate(capacity: 1)
    Differences.check(smtpstate_conversation_init(c, &same, memory.baseAddress, memory.count), "the policy was refused")
    compareState()
  }

  deinit {
    memory.deallocate()
    c.deallocate()
  }

  // MARK: - Events

  mutating func receive(_ octets: Span<UInt8>, from party: Party) -> Int {
    let expected = swift.receive(octets, from: party)
    let got = octets.withUnsafeBufferPointer { smtpstate_conversation_receive(c, party.c, $0.baseAddress, $0.count) }
    check(got, expected, "consumed")
    compareState()
    return expected
  }

  mutating func inputEnded(from party: Party) {
    swift.inputEnded(from: party)
    smtpstate_conversation_input_ended(c, party.c)
    compareState()
  }

  mutating func withOutput(to party: Party, _ send: (Span<UInt8>) -> Int) {
    var sent = 0
    swift.withOutput(to: party) {
      sent = send($0)
      return sent
    }
    smtpstate_conversation_sent(c, party.c, sent)
    compareState()
  }

  mutating func tlsUnavailable() {
    swift.tlsUnavailable()
    smtpstate_conversation_tls_unavailable(c)
    compareState()
  }

  mutating func peeked(_ first: UInt8?, ended: Bool) {
    swift.peeked(first, ended: ended)
    smtpstate_conversation_peeked(c, first.map(CInt.init) ?? SMTPSTATE_NO_OCTET, ended)
    compareState()
  }

  mutating func handshakeFinished(_ outcome: HandshakeOutcome) {
    swift.handshakeFinished(outcome)
    smtpstate_conversation_handshake_finished(c, outcome.c)
    compareState()
  }

  mutating func serverRestarted(_ outcome: RestartOutcome) {
    swift.serverRestarted(outcome)
    smtpstate_conversation_server_restarted(c, outcome.c)
    compareState()
  }

  mutating func timerExpired(_ kind: Deadline) {
    swift.timerExpired(kind)
    smtpstate_conversation_timer_expired(c, kind.c)
    compareState()
  }

  mutating func nextDecision() -> Decision? {
    let expected = swift.nextDecision()
    let got = smtpstate_conversation_next_decision(c)
    Differences.compared()
    switch expected {
    case nil: Differences.check(got.kind == 0, "\(got) for no decision")
    case let decision?: Differences.check(got.isSame(as: decision.command), "\(got) for \(decision)")
    }
    compareState()
    return expected
  }

  mutating func releaseMemory() { swift.releaseMemory() }

  // MARK: - Questions

  func wants(_ party: Party) -> Bool { swift.wants(party) }
  func outputCount(to party: Party) -> Int { swift.outputCount(to: party) }
  var deadline: Deadline? { swift.deadline }
  var phase: Phase { swift.phase }
  var isFinal: Bool { swift.isFinal }

  // MARK: - In step

  private mutating func compareState() {
    for party in Party.allCases {
      check(smtpstate_conversation_wants(c, party.c), swift.wants(party), "wants \(party)")
      var count = 0
      let octets = smtpstate_conversation_output(c, party.c, &count)
      let got = Array(UnsafeRawBufferPointer(start: octets, count: count))
      var expected: [UInt8] = []
      swift.withOutput(to: party) { span in
        for index in span.indices { expected.append(span[index]) }
        return 0
      }
      check(got, expected, "output to \(party)")
    }
    check(smtpstate_conversation_deadline(c), swift.deadline?.c ?? SMTPSTATE_DEADLINE_NONE, "deadline")
    check(smtpstate_conversation_timer_starts(c), swift.timerStarts, "timer starts")
    check(smtpstate_conversation_phase(c), swift.phase.c, "phase")
    check(smtpstate_conversation_is_final(c), swift.isFinal, "is final")
    check(smtpstate_conversation_is_clear_phase_over(c), swift.isClearPhaseOver, "is clear phase over")
  }

  private func check<Value: Equatable>(_ got: Value, _ expected: Value, _ what: String) {
    if got != expected { Differences.add("conversation, \(what): \(got) for \(expected)") }
  }
}
