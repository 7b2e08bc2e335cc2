// Exit codes, by class, as in the UCSPI world.

enum ExitCode {
  /// The command line or what it names is wrong: the operator has something to change.
  static let usage: Int32 = 100
  /// The system refused something: a port in use, no descriptor left.
  static let system: Int32 = 111
}
