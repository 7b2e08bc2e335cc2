// ExitCode: the exit codes, by class; the numbers are those of s6-tlsd-io.

/// The program's exit codes.
enum ExitCode: CInt {
  /// The connection ended normally.
  case done = 0
  /// A certificate, key or list of issuers cannot be used.
  case configuration = 96
  /// The TLS library cannot create a session.
  case setUp = 97
  /// The handshake failed or timed out, or the connection broke.
  case tls = 98
  /// Wrong usage, or a variable is missing.
  case usage = 100
  /// The system refused a request.
  case system = 111
  /// The server program exists but cannot be executed.
  case notExecutable = 126
  /// It does not exist.
  case notFound = 127
}
