// ExitCode: how the program ends, by class; the numbers are those of s6-tlsd-io.

/// The program's exit codes.
enum ExitCode: CInt {
  /// The connection came to its end.
  case done = 0
  /// A certificate, key or list of issuers cannot be used.
  case configuration = 96
  /// The TLS library cannot set a session up.
  case setUp = 97
  /// The handshake failed or took too long, or the connection broke.
  case tls = 98
  /// The program was called wrongly, or a variable is missing.
  case usage = 100
  /// The system does not let the program work.
  case system = 111
}
