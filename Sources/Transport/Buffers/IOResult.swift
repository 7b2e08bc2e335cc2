// IOResult: the answer of one read or write that never waits.

/// What one non-waiting read or write came to.
public enum IOResult: Hashable, Sendable {
  /// So many octets were moved; never 0 for a read.
  case moved(Int)
  /// Nothing could be moved now (EAGAIN).
  case wouldBlock
  /// The peer's end of file. Only a read answers it.
  case ended
  /// The call failed: the connection is gone (ECONNRESET, EPIPE) or the call is not possible.
  case failed(SystemError)
}
