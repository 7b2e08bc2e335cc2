// HealthCheckTests: where TLS is required, a front's HELO in clear is read as EHLO, and nothing else is changed.
//
// Each case plays a session twice with the same scripts in the same pieces: with HELO from a front that checks the server, and with
// EHLO from anybody. All sides see the same.

import PropertyCases
import PropertyKit
import SMTPState
import Transport
import XCTest

@testable import TransportKit

final class HealthCheckTests: XCTestCase {
  /// Lines with a part of the word, with it in another case, and with it in another place.
  private static let others: [(text: String, replies: Int)] = [
    "helo client.example\r\n", "HeLO\r\n", "HELP\r\n", "H\r\n", "HE\r\n", "HEL\r\n", "HELOX\r\n", "HEHELO x\r\n", " HELO x\r\n", "NOOP HELO x\r\n",
    "HEAD / HTTP/1.1\r\n", "HEHELO x\r\nHELO x\r\n",
  ].map { ($0, $0.split(separator: "\r\n").count) } + [
    // Chunks that end with a line, inside the word, and after a part of it.
    ("BDAT 8\r\nHELO x\r\nHELO x\r\n", 2), ("NOOP\r\nBDAT 2\r\nHELO x\r\n", 3), ("BDAT 1\r\nH", 1),
  ]

  /// The client's steps with one word for the other at the start of each line, up to STARTTLS.
  private static func replacing(_ word: String, by other: String, in steps: [ClientStep]) -> [ClientStep] {
    func replaced(_ text: String) -> String {
      text.split(separator: "\r\n", omittingEmptySubsequences: false)
        .map { $0.uppercased().hasPrefix(word) ? other + $0.dropFirst(word.utf8.count) : String($0) }.joined(separator: "\r\n")
    }
    var isInClear = true
    return steps.map { step in
      switch step {
      case .say(let text, let replies) where isInClear: return .say(replaced(text), replies: replies)
      case .hurry(let text, let replies) where isInClear: return .hurry(replaced(text), replies: replies)
      case .starttls, .starttlsAnd, .starttlsThen: isInClear = false
      case .say, .hurry, .end, .stopReading, .close, .vanish, .reset: break
      }
      return step
    }
  }

  func testHELOOfAFrontIsEHLO() {
    holds(cases: 300, labels: ["handoff": 0.1, "530": 0.2, "changed": 0.5]) { trial in
      var scenario = SessionChoices.scenario(trial.choices)
      scenario.policy.security = .required
      for _ in 0..<trial.choices.below(3) {
        let other = trial.choices.one(of: HealthCheckTests.others)
        scenario.client.insert(.say(other.text, replies: other.replies), at: 0)
      }
      // When these two leave depends on who has written what.
      scenario.client.removeAll { $0 == .vanish || $0 == .close }
      trial.transcript = { "\(scenario)" }

      let steps = scenario.client
      scenario.client = HealthCheckTests.replacing("HELO", by: "EHLO", in: steps)
      let (usual, _) = try SessionRig.run(scenario) { _, _ in nil }
      scenario.client = HealthCheckTests.replacing("EHLO", by: "HELO", in: steps)
      scenario.isHealthCheck = true
      let (check, _) = try SessionRig.run(scenario) { _, _ in nil }
      if check.handoffs > 0 { trial.label("handoff") }
      if check.sentInClear != usual.sentInClear { trial.label("changed") }
      if String(decoding: check.clear, as: UTF8.self).contains("530 5.7.0 ") { trial.label("530") }
      if !check.looksLike(usual) { throw Falsified("with HELO:\n\(check)\nwith EHLO:\n\(usual)") }
    }
  }
}
