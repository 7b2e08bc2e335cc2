// LogLine: one line of log, on standard error or wherever StandardStreams has found it to go.
//
// Written by one call, so that lines of many processes do not mix. Controls, octets above 0x7E and the backslash are
// escaped. Never contains text of a message.

import ProgramSupport
import Transport

/// The program's log.
enum LogLine {
  /// Writes `maildir-smtpd: text`.
  static func write(_ text: String) {
    StandardStreams.complain("maildir-smtpd", PlainText.escaped(text))
  }
}
