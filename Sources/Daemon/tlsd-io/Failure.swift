// Failure: an end of the program before or instead of its work.

import Transport

/// Why the program ends, and with which code. The text is one line for the operator.
struct Failure: Error, CustomStringConvertible {
  let code: ExitCode
  let description: String

  init(_ code: ExitCode, _ description: String) {
    self.code = code
    self.description = description
  }

  /// A call to the kernel that failed.
  init(_ doing: String, _ error: SystemError) {
    self.init(.system, "\(doing): \(error)")
  }
}
