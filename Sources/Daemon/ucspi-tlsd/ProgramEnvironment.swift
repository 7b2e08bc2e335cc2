// ProgramEnvironment: the environment of the server program.
//
// By default the server program does not get the variables of the TLS engine, see `ProcessEnvironment.removeTLSSettings`. The
// variables with the numbers of the channels are set, as UCSPI-TLS requires. Variables that describe a TLS session are
// removed: there is none yet, so they are of another one. All other variables stay.

import Glibc
import Transport

/// The environment of this process, which becomes the server program's.
enum ProgramEnvironment {
  /// Sets the variables with the numbers of the channels.
  static func announce(_ ends: borrowing ChannelEnds) throws(SystemError) {
    try set("SSLCTLFD", ends.control.number)
    try set("SSLREADFD", ends.reading.number)
    try set("SSLWRITEFD", ends.writing.number)
  }

  private static func set(_ name: StaticString, _ number: CInt) throws(SystemError) {
    // Written from the end, which is a NUL; the number of a descriptor has at most ten digits.
    var text = InlineArray<11, CChar>(repeating: 0)
    var first = text.count - 1
    var rest = number
    repeat {
      first -= 1
      text[first] = CChar(UInt8(ascii: "0")) + CChar(rest % 10)
      rest /= 10
    } while rest > 0
    let result = text.span.withUnsafeBufferPointer { setenv(name.characters, $0.baseAddress! + first, 1) }
    guard result == 0 else { throw SystemError.last("setenv") }
  }
}
