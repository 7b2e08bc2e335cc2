// Play: a dialogue, carried out by a caller alone, with the events kept so that it can be played again. The dialogue is
// the generator's or a fuzzer's.

import PropertyKit
import SMTPState

struct Play {
  private(set) var caller: Caller
  private(set) var events: [Event] = []
  /// For each event, how many deeds were done by its end.
  private(set) var deedsAfter: [Int] = []

  var policy: Policy { caller.policy }

  /// Plays a dialogue; `afterEach` looks at what has come of it so far.
  init(_ trial: Trial, length: Int = 30, afterEach: (Play) throws -> Void = { _ in }) throws {
    var dialogue = Dialogue(trial.choices)
    caller = Caller(dialogue.policy, byHand: dialogue.byHand)
    defer { trial.show(transcript) }
    for _ in 0..<2 + trial.choices.below(length) {
      guard let event = dialogue.next(after: caller) else { break }
      let before = caller.deeds.count
      happen(event)
      dialogue.learn(caller.deeds[before...])
      try afterEach(self)
    }
    trial.label("phase \(caller.session.phase)")
  }

  /// Plays a script.
  init(_ script: Script, afterEach: (Play) throws -> Void = { _ in }) throws {
    caller = Caller(script.policy, byHand: script.byHand)
    for event in script.events {
      happen(event)
      try afterEach(self)
    }
  }

  mutating func happen(_ event: Event) {
    caller.happen(event)
    events.append(event)
    deedsAfter.append(caller.deeds.count)
  }

  /// Lets everybody go and every timer pass, until the session is final or nothing helps.
  mutating func finish() {
    happen(.arrives(Arrival(clientEnds: true)))
    happen(.arrives(Arrival(serverEnds: true)))
    for _ in 0..<4 {
      if let timer = caller.session.deadline { happen(.expired(timer)) }
    }
  }

  /// What the caller did, as a transcript.
  var transcript: Transcript {
    var transcript = Transcript(policy: policy, byHand: caller.byHand)
    transcript.comments = ["What was done."]
    var before = 0
    for (event, after) in zip(events, deedsAfter) {
      let done = Expectation.of(caller.deeds[before..<after], byHand: caller.byHand)
      transcript.steps.append(Transcript.Step(line: 0, event: event, expected: done))
      before = after
    }
    return transcript
  }
}
