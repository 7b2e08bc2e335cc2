// ExitCode: the exit codes by class, as in UCSPI programs.

/// The program's exit codes.
public enum ExitCode: CInt, Hashable, Sendable {
  /// QUIT, the client's end between two messages, or a closing reply that the client caused.
  case done = 0
  /// The client disconnected in the middle of a message, or without reading a reply.
  case brokenOff = 1
  /// A timeout expired.
  case timedOut = 99
  /// Wrong usage.
  case usage = 100
  /// The system refused a request: the descriptors cannot be used.
  case system = 111
}
