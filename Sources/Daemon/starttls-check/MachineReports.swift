// MachineReports: outcomes as JSON (RFC 8259), JUnit XML and TAP 13. Only printable ASCII and line ends come out.

import ProgramSupport
import SMTPProbe
import Transport

/// One object.
final class JSONReport: Report {
  private let target: String
  private let progress: Progress
  private var address = ""

  init(target: String, progress: Progress) { (self.target, self.progress) = (target, progress) }

  func chose(_ address: SocketAddress) { self.address = "\(address)" }

  func begins(_ check: Check) { progress.begins(check) }

  func ended(_: Outcome) {}

  func finish(_ outcomes: [Outcome], _ failure: String?) {
    progress.clear()
    let summary = Summary(outcomes)
    let counts = JSONText.object(Verdict.allCases.map { ($0.rawValue, "\(summary[$0])") })
    let head = [("program", "starttls-check"), ("version", "\(Version.text)"), ("server", target), ("address", address)].map { ($0, JSONText.string($1)) }
    // One line for each check.
    print("\(JSONText.object(head + [("stopped", failure.map(JSONText.string) ?? "null")]).dropLast()),")
    print("\"summary\":\(counts),\"checks\":[")
    print(outcomes.map(object).joined(separator: ",\n"))
    print("]}")
  }

  private func object(_ outcome: Outcome) -> String {
    let (check, finding) = (outcome.check, outcome.finding)
    let texts = [
      ("check", check.identifier), ("verdict", finding.verdict.rawValue), ("text", finding.text), ("observed", finding.observed),
      ("rule", check.rule), ("source", check.source), ("severity", check.severity.rawValue), ("others", check.others),
    ]
    let lists = [("finds", check.finds), ("dialogue", outcome.transcript)]
    return JSONText.object(
      texts.map { ($0, JSONText.string($1)) } + [("milliseconds", "\(outcome.milliseconds)")]
        + lists.map { ($0, JSONText.array($1.map(JSONText.string))) })
  }
}

/// One test suite: a weakness is a failure; a deviation passes, with its text as output; what was not tested is skipped.
final class JUnitReport: Report {
  private let target: String
  private let progress: Progress

  init(target: String, progress: Progress) { (self.target, self.progress) = (target, progress) }

  func begins(_ check: Check) { progress.begins(check) }

  func ended(_: Outcome) {}

  func finish(_ outcomes: [Outcome], _ failure: String?) {
    progress.clear()
    let summary = Summary(outcomes)
    let time = outcomes.map(\.milliseconds).reduce(0, +)
    print("<?xml version=\"1.0\" encoding=\"UTF-8\"?>")
    print(
      "<testsuite name=\"starttls-check\" tests=\"\(outcomes.count + (failure == nil ? 0 : 1))\" failures=\"\(summary[.vulnerable])\""
        + " errors=\"\(failure == nil ? 0 : 1)\" skipped=\"\(summary[.untested])\" time=\"\(seconds(time))\""
        + " hostname=\"\(escaped(target))\">")
    for outcome in outcomes { print(testCase(outcome)) }
    if let failure { print("<testcase classname=\"starttls-check\" name=\"run\"><error message=\"\(escaped(failure))\"/></testcase>") }
    print("</testsuite>")
  }

  private func testCase(_ outcome: Outcome) -> String {
    let (check, finding) = (outcome.check, outcome.finding)
    let explained = "\(finding.text) \(finding.observed)\nRule: \(check.rule) (\(check.source))"
    let dialogue = (check.finds.isEmpty ? [] : ["Class of: \(check.finds.joined(separator: ", "))"]) + outcome.transcript
    let inside =
      switch finding.verdict {
      case .conforms: ""
      case .untested: "<skipped message=\"\(escaped("\(finding.text) \(finding.observed)"))\"/>"
      case .deviates: "<system-out>deviates: \(escaped(explained))</system-out>"
      case .vulnerable:
        "<failure type=\"vulnerable\" message=\"\(escaped(finding.text))\">"
          + "\(escaped(([explained] + dialogue).joined(separator: "\n")))</failure>"
      }
    return "<testcase classname=\"starttls-check.\(check.group.rawValue)\" name=\"\(escaped(check.identifier))\""
      + " time=\"\(seconds(outcome.milliseconds))\">\(inside)</testcase>"
  }

  private func seconds(_ milliseconds: Int) -> String {
    let rest = "\(milliseconds % 1000)"
    return "\(milliseconds / 1000)." + String(repeating: "0", count: 3 - rest.utf8.count) + rest
  }

  private func escaped(_ text: String) -> String {
    var xml = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": xml += "&amp;"
      case "<": xml += "&lt;"
      case ">": xml += "&gt;"
      case "\"": xml += "&quot;"
      case "\n": xml += "\n"
      case " "..."~": xml.unicodeScalars.append(scalar)
      default: xml += "?"
      }
    }
    return xml
  }
}

/// TAP 13: a weakness is `not ok`; a deviation is `ok` with a comment; what was not tested is skipped.
final class TAPReport: Report {
  private let progress: Progress
  private var number = 0

  init(count: Int, progress: Progress) {
    self.progress = progress
    print("TAP version 13\n1..\(count)")
  }

  func begins(_ check: Check) { progress.begins(check) }

  func ended(_ outcome: Outcome) {
    progress.clear()
    number += 1
    let (check, finding) = (outcome.check, outcome.finding)
    let text = plain("\(finding.text) \(finding.observed)")
    switch finding.verdict {
    case .conforms: print("ok \(number) - \(check.identifier)")
    case .untested: print("ok \(number) - \(check.identifier) # SKIP \(text)")
    case .deviates: print("ok \(number) - \(check.identifier)\n# deviates: \(text)")
    case .vulnerable:
      print("not ok \(number) - \(check.identifier)\n# vulnerable: \(text)")
      for line in outcome.transcript { print("# \(plain(line))") }
    }
  }

  func finish(_: [Outcome], _ failure: String?) {
    progress.clear()
    if let failure { print("Bail out! \(plain(failure))") }
  }

  /// A number sign would begin a directive.
  private func plain(_ text: String) -> String {
    String(text.map { $0 == "#" || !$0.isASCII ? "?" : $0 == "\n" ? " " : $0 })
  }
}
