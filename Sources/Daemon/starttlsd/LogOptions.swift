// LogOptions: the format and the place of the log, and the sockets of the status and the metrics.

import ArgumentParser

struct LogOptions: ParsableArguments {
  @Option(help: "Format of the log: text with name=value fields, or one JSON object a line.")
  var logFormat = LogFormat.logfmt

  @Option(
    help: ArgumentHelp(
      "Write the log to the system log (/dev/log) with this facility, for example mail, instead of standard error.",
      valueName: "facility"))
  var syslog: SyslogFacility?

  @Option(
    help: ArgumentHelp(
      "Unix socket for `starttlsd status`; only root and the user of starttlsd (--user) may ask.", valueName: "path"))
  var statusSocket: String?

  @Option(
    help: ArgumentHelp("Address of the metrics (OpenMetrics over HTTP): unix:path or a loopback address and port.", valueName: "address"))
  var metrics: String?
}

/// The format of a line.
enum LogFormat: String, ExpressibleByArgument, CaseIterable { case logfmt, json }

/// The facilities of RFC 5424, 6.2.1.
enum SyslogFacility: String, ExpressibleByArgument, CaseIterable {
  case user, mail, daemon, auth, syslog, authpriv, local0, local1, local2, local3, local4, local5, local6, local7

  var number: Int {
    switch self {
    case .user: 1
    case .mail: 2
    case .daemon: 3
    case .auth: 4
    case .syslog: 5
    case .authpriv: 10
    case .local0: 16
    case .local1: 17
    case .local2: 18
    case .local3: 19
    case .local4: 20
    case .local5: 21
    case .local6: 22
    case .local7: 23
    }
  }
}
