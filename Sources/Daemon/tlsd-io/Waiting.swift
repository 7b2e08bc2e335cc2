// Waiting: the only place where this program sleeps.

import CKernel
import Glibc
import Transport

enum Waiting {
  /// Waits until one of the entries is ready or the deadline has passed. Entries with a negative number are ignored.
  ///
  /// - Parameter deadline: in the clock's milliseconds; nil: no limit.
  /// - Returns: false if the deadline has passed.
  static func wait(_ entries: inout [pollfd], until deadline: Int?) throws(SystemError) -> Bool {
    while true {
      // Rounded up by one; otherwise the last fraction of a millisecond would be a busy loop.
      let rest = deadline.map { max(0, $0 - Clock.now() + 1) } ?? -1
      let ready = poll(&entries, nfds_t(entries.count), CInt(clamping: rest))
      if ready > 0 { return true }
      if ready < 0, errno != EINTR { throw SystemError.last("poll") }
      if let deadline, Clock.now() >= deadline { return false }
    }
  }

  /// Waits for one descriptor.
  static func wait(for number: CInt, _ events: CInt, until deadline: Int?) throws(SystemError) -> Bool {
    var entries = [pollfd(fd: number, events: CShort(events), revents: 0)]
    return try wait(&entries, until: deadline)
  }
}
