// MetricsFamily: the families of metrics, in the order of the text: what `# TYPE`, `# UNIT` and `# HELP` state of each, and the labels
// of its samples.

import Transport

struct MetricsFamily {
  enum Kind: String {
    case info, gauge, counter, histogram

    /// What the names of the samples end with.
    var suffixes: [String] {
      switch self {
      case .info: ["_info"]
      case .gauge: [""]
      case .counter: ["_total"]
      case .histogram: ["_bucket", "_count", "_sum"]
      }
    }
  }

  static let prefix = "starttlsd_"

  /// Without the prefix.
  let name: String
  let kind: Kind
  let unit: String?
  let help: String
  /// In the order of the text. A sample has all of them, see `labels(suffix:)`.
  private let labels: [MetricsLabel]

  init(_ name: String, _ kind: Kind, unit: String? = nil, labels: [MetricsLabel] = [], _ help: String) {
    self.name = name
    self.kind = kind
    self.unit = unit
    self.labels = labels
    self.help = help
  }

  /// The names of the labels of the samples that end with this suffix: of a histogram only the buckets have any.
  func labels(suffix: String) -> [String] { kind == .histogram && suffix != "_bucket" ? [] : labels.map(\.name) }

  /// The lines in front of the samples. The help names the labels with their values, so that rules can be written from it.
  var head: String {
    let full = MetricsFamily.prefix + name
    let help = labels.isEmpty ? help : "\(help) Labels: \(labels.map(\.help).joined(separator: ", "))."
    return "# TYPE \(full) \(kind.rawValue)\n" + (unit.map { "# UNIT \(full) \($0)\n" } ?? "") + "# HELP \(full) \(help)\n"
  }

  /// The only family with a number of samples that the operator chooses.
  static let certificates = "certificate_valid_until_seconds"

  /// Those of a process that serves.
  static let all: [MetricsFamily] =
    [
      MetricsFamily("build", .info, labels: [MetricsLabel("version")], "The version."),
      MetricsFamily("start_time_seconds", .gauge, unit: "seconds", "When the daemon was started, in seconds since 1970."),
      MetricsFamily("sessions", .gauge, labels: [MetricsLabel("phase", SessionStage.allCases.map(\.rawValue))], "Sessions that run, by phase."),
      MetricsFamily("sessions_limit", .gauge, "How many sessions may run."),
      MetricsFamily("backends", .gauge, "Backend processes that run."),
      MetricsFamily("backends_limit", .gauge, "How many backend processes may run."),
      MetricsFamily("spare_backends", .gauge, "Spare processes of the server program that wait for a session."),
      MetricsFamily("spare_backends_wanted", .gauge, "How many spare processes are to wait for a session."),
      MetricsFamily(
        certificates, .gauge, unit: "seconds", labels: [MetricsLabel("file")], "The end of a certificate's validity, in seconds since 1970."),
      MetricsFamily("certificates_failed", .gauge, "1 if the certificates' files cannot be used as they are now, else 0."),
      MetricsFamily("signatures", .counter, "Signatures of the process that holds the private keys."),
      MetricsFamily(
        "keys_available", .gauge, "1 if the process that holds the private keys answers, else 0: STARTTLS is refused then."),
    ] + Metrics.Counter.allCases.map { MetricsFamily($0.rawValue, .counter, unit: $0.unit, labels: $0.labels, $0.help) }
    + Metrics.Duration.allCases.map { MetricsFamily($0.rawValue + "_seconds", .histogram, unit: "seconds", labels: [MetricsLabel("le")], $0.help) }

  /// Those of a supervisor.
  static let workers = MetricsFamily("workers", .gauge, "How many workers are to serve.")
  static let workerUp = MetricsFamily(
    "worker_up", .gauge, labels: [MetricsLabel("worker")], "1 if the worker has answered this request, else 0: its metrics are missing.")
  static let workerRestarts = MetricsFamily(
    "worker_restarts", .counter, labels: [MetricsLabel("worker")], "How often the worker was started again since the supervisor was started or took over.")
}
