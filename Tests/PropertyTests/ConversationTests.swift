// The conversation and the oracle side by side: the same octets to both sides, the same decisions at the same places.

import SMTPState
import XCTest
import PropertyKit
import PropertyCases

#if C_INTERFACE
  @testable import CSessionKit
#else
  @testable import SessionKit
#endif

final class ConversationTests: XCTestCase {
  func testEveryTranscriptThroughAConversation() throws {
    let files = try Fixtures.files(in: "transcripts") + Fixtures.files(in: "attacks")
    XCTAssertGreaterThanOrEqual(files.count, 645, "transcripts are missing")
    for file in files {
      let transcript = try Transcript(reading: file.text)
      for limit in Extent.choose(quick: [1, Int.max], full: [1, 3, Int.max]) {
        var pair = ConversationPair(transcript.policy, byHand: transcript.byHand, spanLimit: limit)
        do {
          for step in transcript.steps { try pair.happen(step.event) }
        } catch {
          XCTFail("\(file.name), spans of \(limit): \(error)")
        }
      }
    }
  }

  func testAConversationDoesWhatTheRulesSay() {
    holds(cases: 6_000, labels: ["handoff": 0.05, "relay": 0.05]) { trial in
      var dialogue = Dialogue(trial.choices)
      let length = 2 + trial.choices.below(34)
      var pair = ConversationPair(
        dialogue.policy, byHand: dialogue.byHand, spanLimit: trial.choices.one(of: [1, 2, 5, 40, Int.max]))
      var caller = Caller(dialogue.policy, byHand: dialogue.byHand)
      defer { trial.show(pair.transcript) }
      for _ in 0..<length {
        guard let event = dialogue.next(after: caller) else { break }
        let before = caller.deeds.count
        caller.happen(event)
        for deed in caller.deeds[before...] { trial.label(deed.words) }
        try pair.happen(event)
        dialogue.learn(caller.deeds[before...])
      }
    }
  }
}

/// A conversation and the oracle, through the same events.
struct ConversationPair {
  private let conversation: ConversationCaller
  private var oracle: Oracle
  private(set) var transcript: Transcript

  init(_ policy: Policy, byHand: ByHand, spanLimit: Int) {
    conversation = ConversationCaller(policy, byHand: byHand, spanLimit: spanLimit)
    oracle = Oracle(policy, byHand: byHand)
    transcript = Transcript(policy: policy, byHand: byHand)
  }

  mutating func happen(_ event: Event) throws {
    let before = oracle.deeds.count
    conversation.happen(event)
    oracle.happen(event)
    transcript.steps.append(
      Transcript.Step(line: 0, event: event, expected: Expectation.of(oracle.deeds[before...], byHand: transcript.byHand)))
    let toServer = oracle.deeds.flatMap(\.toServer)
    try same("octets to the server", Notation.encoded(conversation.toServer), Notation.encoded(toServer))
    // What waits for the event `drained` was not sent yet.
    let toClient = oracle.deeds.flatMap(\.toClient)
    if oracle.phase == .promised {
      try same("whether they are the first", toClient.starts(with: conversation.toClient), true)
    } else {
      try same("octets to the client", Notation.encoded(conversation.toClient), Notation.encoded(toClient))
    }
    try same("decisions", conversation.decided, decided)
    try same("phase", conversation.phase, oracle.phase)
    try same("timer", conversation.deadline, oracle.deadline)
    try same("octets of the client consumed", conversation.client.taken, oracle.client.taken)
  }

  /// The oracle's deeds that are decisions.
  private var decided: [ConversationCaller.Decided] {
    var list: [ConversationCaller.Decided] = []
    var (toClient, toServer) = (0, 0)
    let decisions: Set<Substring> = ["peek", "handoff", "abort", "end", "restart", "relay", "close"]
    for deed in oracle.deeds {
      toClient += deed.toClient.count
      toServer += deed.toServer.count
      guard decisions.contains(deed.words.prefix { $0 != " " }) else { continue }
      list.append(ConversationCaller.Decided(words: deed.words, toClient: toClient, toServer: toServer))
    }
    return list
  }

  private func same<Value: Equatable>(_ what: String, _ got: Value, _ wanted: Value) throws {
    if got != wanted { throw Falsified("\(what)\n  expected \(wanted)\n  got      \(got)") }
  }
}
