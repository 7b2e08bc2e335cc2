// ExitCode: the exit codes of the program and of the helper, by class, as in UCSPI programs.

/// The exit codes. The program itself ends only if it could not execute the server program.
enum ExitCode: CInt {
  /// Help or version was printed; in the helper: the server program declined TLS.
  case done = 0
  /// The certificate or its key cannot be read.
  case configuration = 96
  /// Wrong usage, a variable is missing, or the server program sent an unknown command.
  case usage = 100
  /// The system refused a request.
  case system = 111
  /// The server program (in the helper: the TLS engine) exists but cannot be executed.
  case notExecutable = 126
  /// It does not exist.
  case notFound = 127
}
