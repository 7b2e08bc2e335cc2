// MetricsText: metrics in the text format of OpenMetrics 1.0.

import Glibc
import ProgramSupport
import Transport

enum MetricsText {
  static let contentType = "application/openmetrics-text; version=1.0.0; charset=utf-8"
  private static let prefix = "starttlsd_"

  /// `{name="value",...}`; empty without labels.
  static func labels(_ labels: [(name: String, value: String)]) -> String {
    guard !labels.isEmpty else { return "" }
    return "{" + labels.map { "\($0.name)=\(quoted($0.value))" }.joined(separator: ",") + "}"
  }

  /// A value between quotation marks. Only printable ASCII comes out.
  private static func quoted(_ value: String) -> String {
    var text = "\""
    for octet in value.utf8 {
      switch octet {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"): text += "\\" + String(Unicode.Scalar(octet))
      case 0x20...0x7E: text.unicodeScalars.append(Unicode.Scalar(octet))
      default: text += "?"
      }
    }
    return text + "\""
  }

  /// All metrics of the daemon.
  static func text(_ metrics: Metrics, _ report: StatusReport, startedAt: Int) -> String {
    var text = ""
    func family(_ name: String, _ type: String, _ help: String, unit: String? = nil, _ samples: [(suffix: String, value: String)]) {
      text += "# TYPE \(prefix)\(name) \(type)\n"
      if let unit { text += "# UNIT \(prefix)\(name) \(unit)\n" }
      text += "# HELP \(prefix)\(name) \(help)\n"
      for sample in samples { text += "\(prefix)\(name)\(sample.suffix) \(sample.value)\n" }
    }
    family("build", "info", "The version.", [("_info" + labels([("version", "\(Version.text)")]), "1")])
    family("start_time_seconds", "gauge", "When the daemon was started, in seconds since 1970.", unit: "seconds", [("", "\(startedAt)")])
    family(
      "sessions", "gauge", "Sessions that run, by phase.",
      SessionStage.allCases.map { stage in (labels([("phase", stage.rawValue)]), "\(report.sessions.count { $0.stage == stage })") })
    family("sessions_limit", "gauge", "How many sessions may run.", [("", "\(report.sessionsLimit)")])
    family("backends", "gauge", "Backend processes that run.", [("", "\(report.backends)")])
    family("backends_limit", "gauge", "How many backend processes may run.", [("", "\(report.backendsLimit)")])
    if let spares = report.spares {
      family("spare_backends", "gauge", "Spare processes of the server program that wait for a session.", [("", "\(spares.ready)")])
      family("spare_backends_wanted", "gauge", "How many spare processes are to wait for a session.", [("", "\(spares.wanted)")])
    }
    family(
      "certificate_valid_until_seconds", "gauge", "The end of a certificate's validity, in seconds since 1970.", unit: "seconds",
      report.certificates.map { (labels([("file", $0.path)]), "\($0.validUntil)") })
    family(
      "certificates_failed", "gauge", "1 if the certificates' files cannot be used as they are now, else 0.",
      [("", report.certificatesFailure == nil ? "0" : "1")])
    if let keys = report.keys {
      family("signatures", "counter", "Signatures of the process that holds the private keys.", [("_total", "\(keys.signatures)")])
      family(
        "keys_available", "gauge", "1 if the process that holds the private keys answers, else 0: STARTTLS is refused then.",
        [("", keys.isAvailable ? "1" : "0")])
    }
    for counter in Metrics.Counter.allCases {
      let counts = metrics.counts[counter, default: [:]].sorted { $0.key < $1.key }
      family(counter.rawValue, "counter", counter.help, unit: counter.unit, counts.map { ("_total" + $0.key, "\($0.value)") })
    }
    for duration in Metrics.Duration.allCases {
      guard let histogram = metrics.durations[duration] else { continue }
      family(duration.rawValue + "_seconds", "histogram", duration.help, unit: "seconds", samples(histogram))
    }
    return text + "# EOF\n"
  }

  private static func samples(_ histogram: Histogram) -> [(suffix: String, value: String)] {
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
