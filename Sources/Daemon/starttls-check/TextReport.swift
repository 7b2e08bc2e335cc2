// TextReport: outcomes for people. Colour only on a terminal, unless NO_COLOR is set.
//
// A line for each check when it has ended. What does not conform is explained: the rule and its source, what was observed, what
// others do, which vulnerability it is.

import Glibc
import ProgramSupport
import SMTPProbe
import Transport

final class TextReport: Report {
  private let isVerbose: Bool
  private let width: Int
  private let hasAddresses: Bool
  private let hasColour = isatty(STDOUT_FILENO) != 0 && getenv("NO_COLOR") == nil
  private let progress: Progress
  private var group: Check.Group?

  init(target: Target, checks: [Check], isVerbose: Bool) {
    self.isVerbose = isVerbose
    width = checks.map { $0.identifier.utf8.count }.max() ?? 0
    progress = Progress(count: checks.count)
    hasAddresses = target.addresses.count > 1
    let addresses = target.addresses.map(\.description).joined(separator: ", ")
    print("starttls-check \(Version.text): \(target.text)\(addresses == target.text ? "" : " (\(addresses))")")
  }

  func chose(_ address: SocketAddress) {
    if hasAddresses { print("checked: \(address)") }
  }

  func begins(_ check: Check) { progress.begins(check) }

  func ended(_ outcome: Outcome) {
    progress.clear()
    let (check, finding) = (outcome.check, outcome.finding)
    if group != check.group {
      group = check.group
      print("")
    }
    let name = check.identifier + String(repeating: " ", count: max(0, width - check.identifier.utf8.count))
    print("\(coloured(finding.verdict)) \(name)  \(finding.text)")
    if finding.verdict > .conforms { explain(outcome) }
    if finding.verdict == .untested, !finding.observed.isEmpty { detail("observed", finding.observed) }
    if isVerbose, finding.verdict != .conforms { for line in outcome.transcript { print("             | \(line)") } }
    fflush(nil)
  }

  private func explain(_ outcome: Outcome) {
    let (check, finding) = (outcome.check, outcome.finding)
    detail("rule", "\(check.rule) (\(check.source))")
    if !finding.observed.isEmpty { detail("observed", finding.observed) }
    if !check.others.isEmpty { detail("others", check.others) }
    if finding.verdict == .vulnerable {
      detail("severity", check.severity.rawValue)
      if !check.finds.isEmpty { detail("class of", check.finds.joined(separator: ", ")) }
    }
  }

  private func detail(_ name: String, _ text: String) {
    print("             \(name): \(text)")
  }

  private func coloured(_ verdict: Verdict) -> String {
    let (word, colour) =
      switch verdict {
      case .conforms: ("conforms  ", 32)
      case .deviates: ("deviates  ", 33)
      case .vulnerable: ("VULNERABLE", 31)
      case .untested: ("not tested", 90)
      }
    return hasColour ? "\u{1B}[\(colour)m\(word)\u{1B}[0m" : word
  }

  func finish(_ outcomes: [Outcome], _ failure: String?) {
    progress.clear()
    print("\n\(Summary(outcomes))\(failure == nil ? "" : "; not all checks were run")")
    fflush(nil)
  }
}

/// `--list`.
enum CheckList {
  static func print(_ checks: [Check]) {
    for check in checks {
      Swift.print("\(check.identifier) (\(check.severity.rawValue); \(check.source))")
      Swift.print("  \(check.rule)")
      if !check.finds.isEmpty { Swift.print("  finds: \(check.finds.joined(separator: ", "))") }
      for need in Check.Need.allCases where check.needs.contains(need) { Swift.print("  \(need.text)") }
    }
  }
}
