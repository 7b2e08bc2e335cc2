// Status flags: read anywhere, changed in one place.
//
// O_NONBLOCK belongs to the open file description, which several processes may share and which outlives the process
// that set the flag. This layer therefore sets no status flag on a description that it did not create. Waiting is
// avoided per call (MSG_DONTWAIT, RWF_NOWAIT). `clearNonBlockingForHandoff` is the only function with F_SETFL, and it
// only clears.

import Glibc

extension Descriptor {
  /// The status flags of the open file description, as returned by F_GETFL (O_NONBLOCK, O_APPEND and others).
  package borrowing func statusFlags() throws(SystemError) -> CInt {
    try Kernel.control(number, F_GETFL)
  }

  /// True if the description is non-blocking.
  package borrowing func isNonBlocking() throws(SystemError) -> Bool {
    try statusFlags() & O_NONBLOCK != 0
  }

  /// Clears O_NONBLOCK that a parent left on the socket, just before the socket goes to a TLS helper: some helpers,
  /// such as one built on libtls, require a blocking socket.
  ///
  /// - Returns: true if the flag was set and has been cleared, which the caller logs. If the flag was not set, nothing
  ///   is changed.
  public borrowing func clearNonBlockingForHandoff() throws(SystemError) -> Bool {
    let flags = try statusFlags()
    guard flags & O_NONBLOCK != 0 else { return false }
    _ = try Kernel.control(number, F_SETFL, flags & ~O_NONBLOCK)
    return true
  }
}
