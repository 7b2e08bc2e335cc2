// Lockstep: the session, carried out by a caller, and the oracle, through the same events; compared after each.

import PropertyKit
import SMTPState

struct Lockstep {
  private(set) var caller: Caller
  private(set) var oracle: Oracle
  /// The events, and what the oracle expected.
  private(set) var transcript: Transcript

  init(_ policy: Policy, byHand: ByHand = ByHand(), cuts: Cuts = .whole) {
    caller = Caller(policy, byHand: byHand, cuts: cuts)
    oracle = Oracle(policy, byHand: byHand)
    transcript = Transcript(policy: policy, byHand: byHand)
    transcript.comments = ["What the oracle expects."]
  }

  /// Lets something happen to both; returns what was done.
  @discardableResult
  mutating func happen(_ event: Event) throws -> ArraySlice<Deed> {
    let (doneBefore, expectedBefore) = (caller.deeds.count, oracle.deeds.count)
    caller.happen(event)
    oracle.happen(event)
    let done = caller.deeds[doneBefore...]
    let expected = oracle.deeds[expectedBefore...]
    transcript.steps.append(
      Transcript.Step(line: 0, event: event, expected: Expectation.of(expected, byHand: oracle.byHand)))
    try compare(done, expected, after: event)
    return done
  }

  private func compare(_ done: ArraySlice<Deed>, _ expected: ArraySlice<Deed>, after event: Event) throws {
    func same<Value: Equatable>(_ what: String, _ got: Value, _ wanted: Value) throws {
      if got != wanted { throw Falsified("after \(event.name): \(what)\n  expected \(wanted)\n  got      \(got)") }
    }
    if done != expected {
      for (one, other) in zip(done, expected) { try same("another deed", one, other) }
      try same("more or fewer deeds", Array(done), Array(expected))
    }
    try same("another phase", caller.session.phase, oracle.phase)
    try same("another interest", caller.session.interest, oracle.interest)
    try same("another timer", caller.session.deadline, oracle.deadline)
    try same("another number of the client's octets consumed", caller.client.taken, oracle.client.taken)
    try same("another number of the server's octets consumed", caller.server.taken, oracle.server.taken)
    if let violation = caller.violations.first { throw Falsified("after \(event.name): \(violation)") }
  }
}

/// Plays one dialogue and compares after every event. A fuzzer can call it as well as a test.
func compareWithOracle(_ trial: Trial) throws {
  var dialogue = Dialogue(trial.choices)
  let length = 2 + trial.choices.below(34)
  let isCut = trial.choices.happens(1, of: 3)
  let cuts: Cuts = isCut ? .random(SplitMix(state: UInt64(trial.choices.below(1_000))), upTo: 6) : .whole
  var lockstep = Lockstep(dialogue.policy, byHand: dialogue.byHand, cuts: cuts)
  defer { trial.show(lockstep.transcript) }
  trial.label("policy \(dialogue.policy.security)")
  trial.label("policy \(dialogue.policy.mailProtocol)")
  trial.label("policy \(dialogue.policy.serverReset)")

  for _ in 0..<length {
    guard let event = dialogue.next(after: lockstep.caller) else { break }
    trial.label("event \(event.name)")
    let done = try lockstep.happen(event)
    trial.label("phase \(lockstep.caller.session.phase)")
    for deed in done { trial.label(deed.words) }
    dialogue.learn(done)
  }
}

extension Trial {
  /// Shows a transcript if the case fails. Its text is made only then.
  func show(_ transcript: Transcript) { self.transcript = { transcript.text } }
}

extension Event {
  /// Its kind, for labels.
  var name: String {
    switch self {
    case .arrives(let arrival): arrival.clientEnds ? "client ended" : arrival.serverEnds ? "server ended" : "octets"
    case .peekedAsItIs, .peeked: "peeked"
    case .late: "late"
    case .drained: "drained"
    case .unavailable: "unavailable"
    case .secured: "secured"
    case .restarted: "restarted"
    case .expired: "expired"
    }
  }
}
