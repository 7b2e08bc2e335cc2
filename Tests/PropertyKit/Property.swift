// Property: runs a statement over many cases and reports the first that fails, as small as it can be made.
//
// Labels say what a case reached. A property names those that must be reached and in what share of the cases at least:
// a generator that no longer gets anywhere fails, although no case does.
//
// Knows no test framework, so that a fuzzer can use it: Holds.swift has the way from XCTest to here.

/// A statement that is not true of a case.
package struct Falsified: Error, CustomStringConvertible {
  package let message: String
  package var description: String { message }
  package init(_ message: String) { self.message = message }
}

/// One case while it runs.
package final class Trial {
  package let choices: Choices
  /// What the case reached.
  package private(set) var labels: Set<String> = []
  /// What to show of it if it fails. Asked for only then.
  package var transcript: () -> String = { "" }

  package init(_ choices: Choices) { self.choices = choices }

  package func label(_ label: String) { labels.insert(label) }
}

/// What became of all cases.
package struct Outcome {
  package var cases = 0
  package var counts: [String: Int] = [:]
  /// The report of the smallest failing case, if there is one.
  package var failure: String?
  /// Its choices.
  package var choices: [Int]?

  package func share(of label: String) -> Double { Double(counts[label, default: 0]) / Double(max(1, cases)) }
}

package enum Property {
  /// Tries `cases` random cases, and more until `seconds` have passed.
  /// - Parameter test: what `swift test --filter` calls the test, for the command in the report.
  package static func outcome(
    test: String, cases: Int, seed: UInt64, seconds: Int = 0, replaying list: [Int]? = nil,
    _ statement: (Trial) throws -> Void
  ) -> Outcome {
    var outcome = Outcome()
    let end = ContinuousClock.now + .seconds(seconds)
    while outcome.cases < (list == nil ? cases : 1) || list == nil && seconds > 0 && ContinuousClock.now < end {
      let caseSeed = seed &+ UInt64(outcome.cases)
      let trial = Trial(list.map { Choices(replaying: $0) } ?? Choices(seed: caseSeed))
      outcome.cases += 1
      if let first = objection(to: trial, statement) {
        let origin = list == nil ? "seed \(caseSeed)" : "choices given"
        (outcome.failure, outcome.choices) = report(trial.choices.made, first, origin: origin, test: test, statement)
        return outcome
      }
      for label in trial.labels { outcome.counts[label, default: 0] += 1 }
    }
    return outcome
  }

  /// Tries all cases, one after the other.
  package static func outcomeOfEveryCase(
    test: String, replaying list: [Int]? = nil, _ statement: (Trial) throws -> Void
  ) -> Outcome {
    if let list { return outcome(test: test, cases: 1, seed: 0, replaying: list, statement) }
    var outcome = Outcome()
    outcome.cases = Odometer.forEach { choices in
      let trial = Trial(choices)
      guard outcome.failure == nil, let first = objection(to: trial, statement) else { return }
      (outcome.failure, outcome.choices) = report(choices.made, first, origin: "one of all cases", test: test, statement)
    }
    return outcome
  }

  /// The statement's objection to a case, nil if it has none.
  private static func objection(to trial: Trial, _ statement: (Trial) throws -> Void) -> String? {
    do {
      try statement(trial)
      return nil
    } catch {
      return "\(error)"
    }
  }

  private static func report(
    _ failing: [Int], _ first: String, origin: String, test: String, _ statement: (Trial) throws -> Void
  ) -> (String, [Int]) {
    let smallest = Shrinking.minimum(of: failing) { candidate in
      let trial = Trial(Choices(replaying: candidate))
      return objection(to: trial, statement) == nil ? nil : trial.choices.made
    }
    let trial = Trial(Choices(replaying: smallest))
    let message = objection(to: trial, statement) ?? "not reproduced: the case is not deterministic; at first: \(first)"
    let list = smallest.map(String.init).joined(separator: ",")
    return (
      """
      \(message)
      \(origin), \(failing.count) choices; shrunk to \(smallest.count): \(list)
      \(trial.transcript())
      Again:
        SMTPSTATE_CHOICES=\(list) swift test -c release -Xswiftc -enable-testing --filter \(test)
      """, smallest
    )
  }
}
