// Property: runs a statement over many cases and reports the first that fails, as small as it can be made.
//
// The environment steers it:
//   SMTPSTATE_CHOICES=3,0,1   one case again, from the list that a failure printed
//   SMTPSTATE_SEED=7          other random cases
//   SMTPSTATE_CASES=1000000   more or fewer of them
//
// Labels say what a case reached. A property names those that must be reached and in what share of the cases at least:
// a generator that no longer gets anywhere fails, although no case does.

import Foundation
import XCTest

/// A statement that is not true of a case.
struct Falsified: Error {
  let message: String
  init(_ message: String) { self.message = message }
}

/// One case while it runs.
final class Trial {
  let choices: Choices
  /// What the case reached.
  private(set) var labels: Set<String> = []
  /// What to show of it if it fails. Asked for only then.
  var transcript: () -> String = { "" }

  init(_ choices: Choices) { self.choices = choices }

  func label(_ label: String) { labels.insert(label) }
}

/// What became of all cases.
struct Outcome {
  var cases = 0
  var counts: [String: Int] = [:]
  /// The report of the smallest failing case, if there is one.
  var failure: String?
  /// Its choices.
  var choices: [Int]?

  func share(of label: String) -> Double { Double(counts[label, default: 0]) / Double(max(1, cases)) }
}

enum Property {
  /// Tries `cases` random cases.
  /// - Parameter test: what `swift test --filter` calls the test, for the command in the report.
  static func outcome(
    test: String, cases: Int, seed: UInt64, replaying list: [Int]? = nil, _ statement: (Trial) throws -> Void
  ) -> Outcome {
    var outcome = Outcome()
    for number in 0..<(list == nil ? cases : 1) {
      let caseSeed = seed &+ UInt64(number)
      let trial = Trial(list.map { Choices(replaying: $0) } ?? Choices(seed: caseSeed))
      outcome.cases += 1
      if objection(to: trial, statement) != nil {
        let origin = list == nil ? "seed \(caseSeed)" : "choices given"
        (outcome.failure, outcome.choices) = report(trial.choices.made, origin: origin, test: test, statement)
        return outcome
      }
      for label in trial.labels { outcome.counts[label, default: 0] += 1 }
    }
    return outcome
  }

  /// The statement's objection to a case, nil if it has none.
  private static func objection(to trial: Trial, _ statement: (Trial) throws -> Void) -> String? {
    do {
      try statement(trial)
      return nil
    } catch let falsified as Falsified {
      return falsified.message
    } catch {
      return "\(error)"
    }
  }

  private static func report(
    _ failing: [Int], origin: String, test: String, _ statement: (Trial) throws -> Void
  ) -> (String, [Int]) {
    let smallest = Shrinking.minimum(of: failing) { candidate in
      let trial = Trial(Choices(replaying: candidate))
      return objection(to: trial, statement) == nil ? nil : trial.choices.made
    }
    let trial = Trial(Choices(replaying: smallest))
    let message = objection(to: trial, statement) ?? "not reproduced: the case is not deterministic"
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

extension XCTestCase {
  /// Fails unless the statement holds for every case, and every label is reached in its share of them.
  func holds(
    cases: Int, labels: [String: Double] = [:], file: StaticString = #filePath, line: UInt = #line,
    _ statement: (Trial) throws -> Void
  ) {
    let environment = ProcessInfo.processInfo.environment
    let list = environment["SMTPSTATE_CHOICES"].map { $0.split(separator: ",").compactMap { Int($0) } }
    let outcome = Property.outcome(
      test: "PropertyTests." + name.replacingOccurrences(of: ".", with: "/"),
      cases: environment["SMTPSTATE_CASES"].flatMap(Int.init) ?? cases,
      seed: environment["SMTPSTATE_SEED"].flatMap(UInt64.init) ?? 1,
      replaying: list, statement)
    if let failure = outcome.failure {
      XCTFail(failure, file: file, line: line)
    } else if list == nil {
      for (label, least) in labels.sorted(by: { $0.key < $1.key }) where outcome.share(of: label) < least {
        XCTFail(
          "'\(label)' was reached in \(outcome.counts[label, default: 0]) of \(outcome.cases) cases, wanted a share of \(least)",
          file: file, line: line)
      }
    }
    if environment["SMTPSTATE_LABELS"] != nil {
      for (label, count) in outcome.counts.sorted(by: { $0.key < $1.key }) { print("\(name) \(label): \(count)") }
    }
  }
}
