// CLine: applies the two rules for held lines (forward, pass) in the caller's buffer.
//
// Contract: the buffer has SMTPSTATE_LINE_ROOM octets more than the line, because the line may grow.
// Failure: for NULL or an empty line it returns 0 and writes nothing.

import CSMTPState

#if !SINGLE_MODULE
  import SMTPState
#endif

@c(smtpstate_finish_line) @implementation
public func smtpstate_finish_line(_ line: UnsafeMutableRawPointer?, _ length: Int, _ separator: UInt8) -> Int {
  guard let line = line?.assumingMemoryBound(to: UInt8.self), length > 0 else { return 0 }
  return LineEnd.finish(line, length, separator == 0 ? nil : separator)
}
