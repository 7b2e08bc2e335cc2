// Differences: where the C session and the Swift one were found to differ. Each fails the test that runs.
//
// Tests are sequential, so the count needs no lock.

import XCTest

enum Differences {
  /// How many commands were compared.
  nonisolated(unsafe) private(set) static var comparisons = 0

  static func compared() { comparisons += 1 }

  static func add(_ difference: String) { XCTFail("C and Swift differ: \(difference)") }

  static func check(_ holds: Bool, _ difference: @autoclosure () -> String) {
    if !holds { add(difference()) }
  }
}
