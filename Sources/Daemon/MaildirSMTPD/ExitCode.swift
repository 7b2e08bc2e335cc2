// ExitCode: how the program ends, by class, as in the UCSPI world.

/// The program's exit codes.
public enum ExitCode: CInt, Hashable, Sendable {
  /// QUIT, the client's end between two messages, or a closing reply that the client brought about.
  case done = 0
  /// The client broke off: in the middle of a message, or without reading a reply.
  case brokenOff = 1
  /// A time limit passed.
  case timedOut = 99
  /// The program was called wrongly.
  case usage = 100
  /// The system does not let the program work: its descriptors cannot be used.
  case system = 111
}
