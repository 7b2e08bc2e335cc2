// Differences: where the C session and the Swift one were found to differ. Each fails the test that runs, and stops a
// fuzzer.
//
// Tests are sequential, so the count needs no lock.

#if !FUZZING
  import XCTest
#endif

enum Differences {
  /// How many commands were compared.
  nonisolated(unsafe) private(set) static var comparisons = 0

  static func compared() { comparisons += 1 }

  static func add(_ difference: String) {
    #if FUZZING
      fatalError("C and Swift differ: \(difference)")
    #else
      XCTFail("C and Swift differ: \(difference)")
    #endif
  }

  static func check(_ holds: Bool, _ difference: @autoclosure () -> String) {
    if !holds { add(difference()) }
  }
}
