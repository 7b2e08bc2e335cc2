// LogLine: one line of the log: the time in UTC, the level, the program, the text and the fields.
//
//   logfmt   2026-11-28T18:01:55+0000 info starttlsd: session peer=192.0.2.7:47046 helo="client.example" ...
//   json     {"time":"2026-11-28T18:01:55.123Z","level":"info","program":"starttlsd","message":"session","peer":...}
//
// Both have the same fields with the same names and values.

import Glibc
import Logging
import ProgramSupport
import Transport

enum LogLine {
  /// A line with its end. Octets of the text that are not printable are escaped, so that it stays one line.
  ///
  /// - Parameter clock: the time as text, which is the same for all lines of a second.
  static func octets(
    _ level: Logger.Level, _ message: String, _ fields: [LogField], _ format: LogFormat, _ clock: inout LogClock
  ) -> [UInt8] {
    var line: [UInt8] = []
    line.reserveCapacity(384)
    switch format {
    case .logfmt:
      line += clock.text(at: time(nil))
      line.append(UInt8(ascii: " "))
      line.append(contentsOf: level.rawValue.utf8)
      line.append(contentsOf: " starttlsd: ".utf8)
      EscapedText.append(message.utf8, to: &line)
      for field in fields { field.appendLogfmt(to: &line) }
    case .json:
      line += Array(json(level, message, fields).utf8)
    }
    line.append(UInt8(ascii: "\n"))
    return line
  }

  /// Message and fields, for a log that adds the time and the program itself.
  static func body(_ level: Logger.Level, _ message: String, _ fields: [LogField], _ format: LogFormat) -> String {
    switch format {
    case .logfmt: text(message, fields)
    case .json: json(level, message, fields)
    }
  }

  private static func text(_ message: String, _ fields: [LogField]) -> String {
    ([message] + fields.map(\.logfmt)).joined(separator: " ")
  }

  private static func json(_ level: Logger.Level, _ message: String, _ fields: [LogField]) -> String {
    let head = [("time", preciseTime()), ("level", "\(level)"), ("program", "starttlsd"), ("message", message)]
    return JSONText.object(head.map { ($0.0, JSONText.string($0.1)) } + fields.map(\.jsonMember))
  }

  /// The time in UTC with milliseconds, as in RFC 3339.
  static func preciseTime() -> String {
    var time = timespec()
    _ = clock_gettime(CLOCK_REALTIME, &time)
    let fraction = String(1000 + time.tv_nsec / 1_000_000).dropFirst()
    return time.tv_sec.utc("%Y-%m-%dT%H:%M:%S.") + fraction + "Z"
  }

  /// A date such as `2027-01-31`, for a time in seconds since 1970.
  static func day(_ seconds: Int) -> String {
    time_t(seconds).utc("%Y-%m-%d")
  }
}

/// The time of the lines in logfmt: made once a second.
struct LogClock {
  private var second: time_t?
  private var text: [UInt8] = []

  mutating func text(at now: time_t) -> [UInt8] {
    if now != second {
      second = now
      text = Array(now.utc("%Y-%m-%dT%H:%M:%S+0000").utf8)
    }
    return text
  }
}

extension time_t {
  fileprivate func utc(_ format: String) -> String {
    var time = self
    var parts = tm()
    var text = [CChar](repeating: 0, count: 64)
    guard gmtime_r(&time, &parts) != nil, strftime(&text, text.count, format, &parts) > 0 else { return "\(self)" }
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}

/// The log handler that passes swift-log's lines to the queue.
struct QueuedLogHandler: LogHandler {
  let queue: LogQueue
  var logLevel = Logger.Level.info
  var metadata: Logger.Metadata = [:]

  init(_ queue: LogQueue) {
    self.queue = queue
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    queue.append(event.level, "\(event.message)")
  }
}

extension LogField {
  /// Name and value as a member of an object. Numbers and milliseconds are numbers; a text has the same escapes as in
  /// logfmt.
  var jsonMember: (name: String, value: String) {
    switch value {
    case .word(let text), .text(let text): (name, JSONText.string(text))
    case .number(let number), .milliseconds(let number): (name, "\(number)")
    }
  }
}
