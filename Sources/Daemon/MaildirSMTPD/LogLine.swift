// LogLine: one line of the log, on standard error or on the replacement that StandardStreams has chosen.
//
// It is written with one call, so that lines of several processes do not mix. Control characters, octets above 0x7E and
// the backslash are escaped. It never contains text of a message.

import ProgramSupport
import Transport

/// The program's log.
enum LogLine {
  /// Writes `maildir-smtpd: text`.
  static func write(_ text: String) {
    StandardStreams.complain("maildir-smtpd", PlainText.escaped(text))
  }
}
