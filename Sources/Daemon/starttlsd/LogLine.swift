// LogLine: one line of the log: the time in UTC, the level, the program, the text.

import Glibc
import Logging
import Transport

enum LogLine {
  /// A line with its end. Octets of the text that are not printable are escaped, so that it stays one line.
  static func octets(_ level: Logger.Level, _ text: String) -> [UInt8] {
    var line = Array("\(time(nil).utc("%Y-%m-%dT%H:%M:%S+0000")) \(level) starttlsd: ".utf8)
    EscapedText.append(text.utf8, to: &line)
    line.append(UInt8(ascii: "\n"))
    return line
  }

  /// A date such as `2027-01-31`, for a time in seconds since 1970.
  static func day(_ seconds: Int) -> String {
    time_t(seconds).utc("%Y-%m-%d")
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
