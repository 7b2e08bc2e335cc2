// The kit's own tests: a planted failure shrinks to its minimum, an odometer comes to every case, and so on.

import XCTest

@testable import PropertyKit

final class KitTests: XCTestCase {
  func testTheSameSeedMakesTheSameChoices() {
    let one = Choices(seed: 7)
    let other = Choices(seed: 7)
    for bound in 2..<100 { XCTAssertEqual(one.below(bound), other.below(bound)) }
  }

  func testAReplayMakesTheChoicesAgain() {
    let first = Choices(seed: 3)
    let values = (2..<50).map { first.below($0) }
    let again = Choices(replaying: first.made)
    XCTAssertEqual((2..<50).map { again.below($0) }, values)
    XCTAssertEqual(again.made, first.made)
  }

  func testAReplayThatIsTooShortOrTooLargeStaysInBounds() {
    let choices = Choices(replaying: [9, -4])
    XCTAssertEqual([choices.below(4), choices.below(4), choices.below(4)], [3, 0, 0])
  }

  func testOctetsAreUsedOneAChoiceAndThenEnd() {
    let choices = Choices(octets: [5, 1, 2, 255])
    XCTAssertEqual(choices.below(4), 1)
    XCTAssertEqual(choices.below(1_000), 258)
    XCTAssertEqual(choices.below(256), 255)
    XCTAssertEqual(choices.below(256), 0)
  }

  func testABoundOfOneIsNoChoice() {
    let choices = Choices(seed: 1)
    XCTAssertEqual(choices.below(1), 0)
    XCTAssertEqual(choices.made, [])
  }

  func testAnOdometerComesToEveryCaseOnce() {
    var seen: [[Int]] = []
    // The second wheel has as many digits as the first one says: the shape of a case depends on its choices.
    let cases = Odometer.forEach { choices in
      let first = choices.below(3)
      seen.append([first, choices.below(first + 1), choices.below(2)])
    }
    XCTAssertEqual(cases, (1 + 2 + 3) * 2)
    XCTAssertEqual(Set(seen).count, cases)
    XCTAssertEqual(seen.first, [0, 0, 0])
    XCTAssertEqual(seen.last, [2, 2, 1])
  }

  func testAPlantedFailureShrinksToItsMinimum() {
    let outcome = Property.outcome(test: "t", cases: 1_000, seed: 1) { trial in
      let numbers = (0..<trial.choices.below(50)).map { _ in trial.choices.below(1_000) }
      if numbers.contains(where: { $0 >= 700 }) { throw Falsified("too large") }
    }
    XCTAssertEqual(outcome.choices, [1, 700])
  }

  func testAFailureOfTwoPartsShrinksToBoth() {
    let outcome = Property.outcome(test: "t", cases: 10_000, seed: 1) { trial in
      var text = ""
      while trial.choices.below(10) > 0 { text += trial.choices.one(of: ["a", "b", "c"]) }
      if text.contains("cb") { throw Falsified(text) }
    }
    XCTAssertEqual(outcome.choices, [1, 2, 1, 1, 0])
  }

  func testAReportSaysHowToSeeItAgain() throws {
    let outcome = Property.outcome(test: "PropertyTests.A/testB", cases: 10, seed: 40) { trial in
      let number = trial.choices.below(9)
      trial.transcript = { "the number was \(number)" }
      throw Falsified("never")
    }
    let failure = try XCTUnwrap(outcome.failure)
    XCTAssertTrue(failure.contains("never"))
    XCTAssertTrue(failure.contains("seed 40"))
    XCTAssertTrue(failure.contains("the number was 0"))
    XCTAssertTrue(
      failure.contains(
        "SMTPSTATE_CHOICES=0 swift test -c release -Xswiftc -enable-testing --filter PropertyTests.A/testB"))
  }

  func testLabelsAreCountedOnceACase() {
    let outcome = Property.outcome(test: "t", cases: 100, seed: 1) { trial in
      trial.label("every")
      trial.label("every")
      if trial.choices.below(2) == 0 { trial.label("half") }
    }
    XCTAssertEqual(outcome.share(of: "every"), 1)
    XCTAssertEqual(outcome.share(of: "half"), 0.5, accuracy: 0.2)
    XCTAssertEqual(outcome.share(of: "never"), 0)
  }

  // MARK: - Notation

  /// Whatever octets are written down can be read again, alone, among others, and in a run that is abbreviated.
  func testNotationReadsWhatItWrites() throws {
    for octet in UInt8.min...UInt8.max {
      for octets in [[octet], [0x61, octet], [octet, octet, 0x20], Array(repeating: octet, count: 50)] {
        let text = Notation.encoded(octets)
        XCTAssertEqual(try Notation.decoded(text), octets, text)
        XCTAssertFalse(text.contains("\n") || text.hasSuffix(" "), text)
      }
    }
  }
}
