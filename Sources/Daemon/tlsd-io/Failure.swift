// Failure: an error that ends the program.

import Transport

/// Why the program ends, and its exit code. The text is one line for the operator.
struct Failure: Error, CustomStringConvertible {
  let code: ExitCode
  let description: String

  init(_ code: ExitCode, _ description: String) {
    self.code = code
    self.description = description
  }

  /// A failed system call.
  init(_ doing: String, _ error: SystemError) {
    self.init(.system, "\(doing): \(error)")
  }
}
