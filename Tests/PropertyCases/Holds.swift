// Holds: properties as XCTest cases.
//
// The environment steers them:
//   SMTPSTATE_CHOICES=3,0,1   one case again, from the list that a failure printed
//   SMTPSTATE_SEED=7          other random cases
//   SMTPSTATE_CASES=1000000   more or fewer of them
//   SMTPSTATE_LABELS=1        print how many cases reached each label
//   SMTPSTATE_EXTENT=full     all cases; else a quarter of them, see Extent.swift
//   SMTPSTATE_SECONDS=60      at least so many seconds long, with more cases

import Foundation
package import XCTest

package import PropertyKit

extension XCTestCase {
  /// Fails unless the statement holds for every case that its choices allow, and there are as many as expected.
  package func everyCase(
    atLeast: Int, file: StaticString = #filePath, line: UInt = #line, _ statement: (Trial) throws -> Void
  ) {
    let environment = ProcessInfo.processInfo.environment
    let list = environment["SMTPSTATE_CHOICES"].map { $0.split(separator: ",").compactMap { Int($0) } }
    let outcome = Property.outcomeOfEveryCase(test: filterName, replaying: list, statement)
    if let failure = outcome.failure {
      XCTFail(failure, file: file, line: line)
    } else if list == nil {
      XCTAssertGreaterThanOrEqual(outcome.cases, atLeast, "cases are missing", file: file, line: line)
    }
  }

  /// The test as `swift test --filter` calls it.
  private var filterName: String {
    let module = String(reflecting: type(of: self)).prefix { $0 != "." }
    return "\(module)." + name.replacingOccurrences(of: ".", with: "/")
  }

  /// Fails unless the statement holds for every case, and every label is reached in its share of them.
  ///
  /// `make test` tries a quarter of the cases. A label that so few of them reach that chance decides is then not counted.
  package func holds(
    cases: Int, labels: [String: Double] = [:], file: StaticString = #filePath, line: UInt = #line,
    _ statement: (Trial) throws -> Void
  ) {
    let environment = ProcessInfo.processInfo.environment
    let list = environment["SMTPSTATE_CHOICES"].map { $0.split(separator: ",").compactMap { Int($0) } }
    let outcome = Property.outcome(
      test: filterName,
      cases: environment["SMTPSTATE_CASES"].flatMap(Int.init)
        ?? Extent.choose(quick: min(cases, max(1_000, cases / 4)), full: cases),
      seed: environment["SMTPSTATE_SEED"].flatMap(UInt64.init) ?? 1,
      seconds: environment["SMTPSTATE_SECONDS"].flatMap(Int.init) ?? 0,
      replaying: list, statement)
    if let failure = outcome.failure {
      XCTFail(failure, file: file, line: line)
    } else if list == nil {
      let isCounted = { (least: Double) in Extent.current != .quick || least * Double(outcome.cases) >= 10 }
      for (label, least) in labels.sorted(by: { $0.key < $1.key }) where isCounted(least) && outcome.share(of: label) < least {
        let count = outcome.counts[label, default: 0]
        XCTFail(
          "'\(label)' was reached in \(count) of \(outcome.cases) cases, wanted a share of \(least)", file: file, line: line)
      }
    }
    if environment["SMTPSTATE_LABELS"] != nil {
      for (label, count) in outcome.counts.sorted(by: { $0.key < $1.key }) { print("\(name) \(label): \(count)") }
    }
  }
}
