// CLine: applies the two rules for held lines (forward, pass) in the caller's buffer.
//
// Contract: the buffer has SMTPSTATE_LINE_ROOM octets more than the line, because the line may grow.
// Failure: for NULL or an empty line it returns 0 and writes nothing.

import CSMTPState

@c(smtpstate_finish_line) @implementation
public func smtpstate_finish_line(_ line: UnsafeMutableRawPointer?, _ length: Int, _ separator: UInt8) -> Int {
  guard let line = line?.assumingMemoryBound(to: UInt8.self), length > 0 else { return 0 }
  var end = length
  if line[end - 1] == 0x0A {
    end -= 1
    if end > 0 && line[end - 1] == 0x0D { end -= 1 }
  }
  if separator != 0 {
    if end > 3 {
      line[3] = separator
    } else {
      line[end] = separator
      end += 1
    }
  }
  line[end] = 0x0D
  line[end + 1] = 0x0A
  return end + 2
}
