// ExitCode: how the program and the helper end, by class, as in the UCSPI world.

/// The exit codes. The program itself ends only when it could not execute the server program.
enum ExitCode: CInt {
  /// Help or version was printed; in the helper: the server program declined TLS.
  case done = 0
  /// The certificate or its key cannot be read.
  case configuration = 96
  /// Called wrongly, a variable is missing, or the server program said something that is no command.
  case usage = 100
  /// The system does not let the program work.
  case system = 111
  /// The server program (in the helper: the TLS engine) is there but cannot be executed.
  case notExecutable = 126
  /// It is not there.
  case notFound = 127
}
