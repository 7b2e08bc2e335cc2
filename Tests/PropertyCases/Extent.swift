// Extent: how much the long tests try, those of random cases and those that walk all states.
//
// The environment states it: SMTPSTATE_EXTENT=quick, full or large. Without it, quick.

import Foundation

package enum Extent: String {
  /// `make test`: a part of the random cases and small limits, so that everything together takes minutes.
  case quick
  /// `make explore`: all random cases, every cut, the limits at which the mistakes in Fixtures/mutants are found.
  case full
  /// `make explore EXTENT=large`: all policies, the limits that are shipped. Half an hour, six gigabytes.
  case large

  package static let current =
    ProcessInfo.processInfo.environment["SMTPSTATE_EXTENT"].map { Extent(rawValue: $0) ?? .full } ?? .quick

  /// One of two values: for `make test`, or for all that tries more.
  package static func choose<Value>(quick: Value, full: Value) -> Value { current == .quick ? quick : full }
}
