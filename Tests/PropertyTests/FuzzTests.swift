// FuzzTests: what the fuzzers run, without a fuzzer: over all that they have found, over every transcript, and over
// random octets.

import SMTPState
import XCTest
import PropertyKit
import PropertyCases

#if C_INTERFACE
  @testable import CSessionKit
#else
  @testable import SessionKit
#endif

final class FuzzTests: XCTestCase {
  func testSessionFuzzAgain() throws { try replay("SessionFuzz", SessionFuzz.run) }
  func testDifferentialFuzzAgain() throws { try replay("DifferentialFuzz", DifferentialFuzz.run) }
  func testEHLORewriteFuzzAgain() throws { try replay("EHLORewriteFuzz", EHLORewriteFuzz.run) }
  func testCInterfaceFuzzAgain() throws { try replay("CInterfaceFuzz", SessionFuzz.run) }

  /// The form of the fuzzers' inputs reads what it writes.
  func testTheScriptReadsWhatItWrites() {
    holds(cases: 5_000, labels: ["written": 0.2]) { trial in
      let play = try Play(trial)
      let script = Script(policy: play.policy, byHand: play.caller.byHand, events: play.events)
      guard let octets = script.octets else { return }
      trial.label("written")
      guard let again = Script(octets), again.policy == script.policy, again.byHand == script.byHand else {
        throw Falsified("not read: \(Notation.encoded(octets))")
      }
      // An arrival of nothing leaves no trace.
      let events = script.events.filter { $0 != .arrives(Arrival()) }
      if again.events != events { throw Falsified("\(again.events)\n  for \(events)") }
    }
  }

  /// The promises, over the generator's dialogues as over a fuzzer's.
  func testSessionFuzzOverDialogues() {
    holds(cases: 5_000, labels: ["phase relaying": 0.05, "phase closed": 0.3]) { trial in
      let play = try Play(trial)
      try SessionFuzz.play(Script(policy: play.policy, byHand: play.caller.byHand, events: play.events))
    }
  }

  /// Replies to EHLO of lines that mean something, and of any octets.
  func testEHLORewriteFuzzOverReplies() {
    let lines = [
      "250-be", "250-STARTTLS", "250-AUTH PLAIN", "250-auth=x", "250-XCLIENT a", "250-REQUIRETLS", "250-SIZE", "250-", "250",
      "250 STARTTLS", "250 SIZE", "421 no", "550-no", "550 no", "25", "\0",
    ]
    holds(cases: 20_000) { trial in
      var octets = [UInt8(trial.choices.below(16))]
      for _ in 0..<trial.choices.below(6) {
        octets += Array(trial.choices.one(of: lines).utf8) + trial.choices.one(of: [[0x0D, 0x0A], [0x0A], []])
      }
      octets += trial.choices.octets(upTo: 3)
      trial.transcript = { Notation.encoded(octets) }
      _ = try EHLORewriteFuzz.run(octets)
    }
  }
}
