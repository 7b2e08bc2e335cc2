// Status flags: read everywhere, changed in one place.
//
// O_NONBLOCK belongs to the open file description, which several processes may share and which outlives whoever set
// the flag. So this layer sets no status flag on a description that it did not create; waiting is avoided call by call
// (MSG_DONTWAIT, RWF_NOWAIT). `clearNonBlockingForHandoff` is the one function with F_SETFL in it, and it only clears.

import Glibc

extension Descriptor {
  /// The status flags of the open file description, as F_GETFL answers them (O_NONBLOCK, O_APPEND and others).
  public borrowing func statusFlags() throws(SystemError) -> CInt {
    try Kernel.control(number, F_GETFL)
  }

  /// Whether the description is non-blocking.
  public borrowing func isNonBlocking() throws(SystemError) -> Bool {
    try statusFlags() & O_NONBLOCK != 0
  }

  /// Clears O_NONBLOCK that a careless parent left on the socket, just before the socket goes to a TLS helper: helpers
  /// such as one built on libtls expect a blocking socket.
  ///
  /// - Returns: whether the flag was set and has been cleared; log it then. Nothing is written when it was not set.
  public borrowing func clearNonBlockingForHandoff() throws(SystemError) -> Bool {
    let flags = try statusFlags()
    guard flags & O_NONBLOCK != 0 else { return false }
    _ = try Kernel.control(number, F_SETFL, flags & ~O_NONBLOCK)
    return true
  }
}
