// LogLine: one line on standard error.
//
// Written by one call, so that lines of many processes do not mix. Controls and octets above 0x7E are escaped. Never
// contains text of a message. A line that cannot be written is lost: there is nobody left to tell.

import Glibc
import Transport

/// The program's log.
enum LogLine {
  /// Writes `maildir-smtpd: text`.
  static func write(_ text: String) {
    let line = Array("maildir-smtpd: \(PlainText.escaped(text))\n".utf8)
    _ = line.withUnsafeBytes { try? Kernel.write(STDERR_FILENO, $0) }
  }
}
