// OutputOptions: in which form the outcomes are printed.

import ArgumentParser
import Glibc
import SMTPProbe
import Transport

struct OutputOptions: ParsableArguments {
  enum Format: String, EnumerableFlag { case json, junit, tap }

  @Flag(help: "Print JSON, JUnit XML or TAP in place of text.")
  var format: Format?

  @Flag(name: .shortAndLong, help: "Print the dialogue of each check that does not conform; with --json always.")
  var verbose = false

  func report(_ target: Target, checks: [Check]) throws(CheckFailure) -> any Report {
    switch format {
    case .json?: JSONReport(target: target.text, progress: Progress(count: checks.count))
    case .junit?: JUnitReport(target: target.text, progress: Progress(count: checks.count))
    case .tap?: TAPReport(count: checks.count, progress: Progress(count: checks.count))
    case nil: TextReport(target: target, checks: checks, isVerbose: verbose)
    }
  }
}

/// Prints outcomes.
protocol Report: AnyObject {
  /// The address that all checks use.
  func chose(_ address: SocketAddress)
  func begins(_ check: Check)
  func ended(_ outcome: Outcome)
  /// - Parameter failure: why not all checks were run; nil if they were.
  func finish(_ outcomes: [Outcome], _ failure: String?)
}

extension Report {
  func chose(_: SocketAddress) {}
}

/// One line on standard error that changes while checks run; only on a terminal.
final class Progress {
  private let count: Int
  private var number = 0
  private let isTerminal = isatty(STDERR_FILENO) != 0

  init(count: Int) { self.count = count }

  func begins(_ check: Check) {
    number += 1
    write("\r\u{1B}[K[\(number)/\(count)] \(check.identifier)")
  }

  func clear() { write("\r\u{1B}[K") }

  private func write(_ text: String) {
    guard isTerminal else { return }
    var octets = Array(text.utf8)
    _ = Glibc.write(STDERR_FILENO, &octets, octets.count)
  }
}

/// How many outcomes have each verdict.
struct Summary: CustomStringConvertible {
  private let counts: [Verdict: Int]

  init(_ outcomes: [Outcome]) {
    counts = outcomes.reduce(into: [:]) { $0[$1.finding.verdict, default: 0] += 1 }
  }

  subscript(verdict: Verdict) -> Int { counts[verdict, default: 0] }

  var description: String {
    "\(self[.conforms]) conform, \(self[.deviates]) deviate, \(self[.vulnerable]) vulnerable, \(self[.untested]) not tested"
  }
}
