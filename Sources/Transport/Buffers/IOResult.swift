// IOResult: the result of one read or write that never waits.

/// The result of one non-waiting read or write.
public enum IOResult: Hashable, Sendable {
  /// The number of octets moved; never 0 for a read.
  case moved(Int)
  /// Nothing could be moved now (EAGAIN).
  case wouldBlock
  /// The peer's end of file. Only a read returns it.
  case ended
  /// The call failed: the connection is gone (ECONNRESET, EPIPE) or the call is not possible.
  case failed(SystemError)
}
