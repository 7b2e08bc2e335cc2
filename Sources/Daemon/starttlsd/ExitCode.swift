// ExitCode: the exit codes by class, as in UCSPI programs.

enum ExitCode {
  /// The command line or what it names is wrong: the operator has to change something.
  static let usage: Int32 = 100
  /// The system refused a request: a port is in use, no descriptor is left.
  static let system: Int32 = 111
}
