// MetricsText: metrics in the text format of OpenMetrics 1.0.

import Glibc
import ProgramSupport
import Transport

enum MetricsText {
  static let contentType = "application/openmetrics-text; version=1.0.0; charset=utf-8"
  /// The last line.
  static let end = "# EOF\n"

  /// `{name="value",...}`; empty without labels.
  static func labels(_ labels: [(name: String, value: String)]) -> String {
    guard !labels.isEmpty else { return "" }
    return "{" + labels.map { "\($0.name)=\(quoted($0.value))" }.joined(separator: ",") + "}"
  }

  /// A value between quotation marks. Only printable ASCII comes out, and different values stay different: `\xE4` is written for
  /// other octets, and `\x5C` for a backslash.
  private static func quoted(_ value: String) -> String {
    func isPlain(_ octet: UInt8) -> Bool { (0x20...0x7E).contains(octet) && octet != UInt8(ascii: "\"") && octet != UInt8(ascii: "\\") }
    if value.utf8.allSatisfy(isPlain) { return "\"" + value + "\"" }
    var text = "\""
    for octet in value.utf8 {
      switch octet {
      case UInt8(ascii: "\""): text += "\\\""
      case _ where isPlain(octet): text.unicodeScalars.append(Unicode.Scalar(octet))
      default:
        let digits = String(octet, radix: 16, uppercase: true)
        text += "\\\\x" + (digits.utf8.count == 1 ? "0" : "") + digits
      }
    }
    return text + "\""
  }

  typealias Sample = (suffix: String, value: String)

  /// All metrics of the daemon.
  static func text(_ metrics: Metrics, _ report: StatusReport, startedAt: Int) -> String {
    let samples = samples(metrics, report, startedAt: startedAt)
    return MetricsFamily.all.compactMap { family in samples[family.name].map { text(family, $0) } }.joined() + end
  }

  /// A family with its samples.
  static func text(_ family: MetricsFamily, _ samples: [Sample]) -> String {
    family.head + samples.map { "\(MetricsFamily.prefix)\(family.name)\($0.suffix) \($0.value)\n" }.joined()
  }

  /// The samples by the names of their families.
  private static func samples(_ metrics: Metrics, _ report: StatusReport, startedAt: Int) -> [String: [Sample]] {
    var samples: [String: [Sample]] = [
      "build": [("_info" + labels([("version", "\(Version.text)")]), "1")],
      "start_time_seconds": [("", "\(startedAt)")],
      "sessions": SessionStage.allCases.map { stage in
        (labels([("phase", stage.rawValue)]), "\(report.sessions.count { $0.stage == stage })")
      },
      "sessions_limit": [("", "\(report.sessionsLimit)")],
      "backends": [("", "\(report.backends)")],
      "backends_limit": [("", "\(report.backendsLimit)")],
      MetricsFamily.certificates: report.certificates.map { (labels([("file", $0.path)]), "\($0.validUntil)") },
      "certificates_failed": [("", report.certificatesFailure == nil ? "0" : "1")],
    ]
    if let spares = report.spares {
      samples["spare_backends"] = [("", "\(spares.ready)")]
      samples["spare_backends_wanted"] = [("", "\(spares.wanted)")]
    }
    if let keys = report.keys {
      samples["signatures"] = [("_total", "\(keys.signatures)")]
      samples["keys_available"] = [("", keys.isAvailable ? "1" : "0")]
    }
    for counter in Metrics.Counter.allCases {
      let counts = metrics.counts[counter, default: [:]].sorted { $0.key < $1.key }
      samples[counter.rawValue] = counts.map { ("_total" + $0.key, "\($0.value)") }
    }
    for duration in Metrics.Duration.allCases {
      samples[duration.rawValue + "_seconds"] = metrics.durations[duration].map { self.samples($0) }
    }
    return samples
  }

  private static func samples(_ histogram: Histogram) -> [Sample] {
    var count = 0
    let bounds = Histogram.bounds.map(seconds) + ["+Inf"]
    let buckets = zip(bounds, histogram.counts).map { bound, number in
      count += number
      return (suffix: "_bucket" + labels([("le", bound)]), value: "\(count)")
    }
    return buckets + [("_count", "\(count)"), ("_sum", seconds(histogram.sumMilliseconds))]
  }

  /// `1.0`, `0.25`, `12.345`
  private static func seconds(_ milliseconds: Int) -> String {
    let rest = milliseconds % 1000
    var digits = String(1000 + rest).dropFirst()
    while digits.count > 1, digits.last == "0" { digits.removeLast() }
    return "\(milliseconds / 1000).\(digits)"
  }
}
