// CheckFailure: why nothing, or nothing more, can be checked; one line for the user.

struct CheckFailure: Error {
  let text: String
  let code: Int32

  init(_ text: String, _ code: Int32) {
    self.text = text
    self.code = code
  }
}

/// The exit codes.
enum ExitCode {
  /// Each check conforms, or deviates where that is tolerated.
  static let conforms: Int32 = 0
  /// A check found a weakness, or with --strict a deviation.
  static let found: Int32 = 1
  /// The server could not be checked, or not to the end.
  static let incomplete: Int32 = 2
  static let usage: Int32 = 100
  static let system: Int32 = 111
}
