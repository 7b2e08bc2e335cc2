// OpenFilesLimit: the limits of open descriptors of a process (RLIMIT_NOFILE).
//
// A program that raises its own limit must not pass the raised limit to its children: old programs close every number
// up to the limit, and programs that use select(2) fail on numbers of 1024 and more.

import CKernel
import Glibc

/// The two limits of descriptors: the soft limit is in force and may be raised up to the hard limit.
package struct OpenFilesLimit: Hashable, Sendable {
  /// The number of descriptors that the kernel allows.
  package var soft: UInt
  /// The number up to which the soft limit may be raised.
  package var hard: UInt

  /// Creates a value; no limit is set.
  package init(soft: UInt, hard: UInt) {
    self.soft = soft
    self.hard = hard
  }

  /// The limits of this process.
  package static func current() throws(SystemError) -> OpenFilesLimit {
    let limit = try Kernel.openFilesLimit()
    return OpenFilesLimit(soft: limit.rlim_cur, hard: limit.rlim_max)
  }

  /// Sets these limits for this process.
  package func set() throws(SystemError) {
    try Kernel.setOpenFilesLimit(rlimit(rlim_cur: soft, rlim_max: hard))
  }

  /// Applies this soft limit during a call that starts a child, which inherits it. Open descriptors stay open. Call it
  /// only in a process with one thread: another thread could not open descriptors meanwhile.
  func during<Result>(_ body: () throws(SystemError) -> Result) throws(SystemError) -> Result {
    let own = try OpenFilesLimit.current()
    guard own.soft != soft else { return try body() }
    try OpenFilesLimit(soft: min(soft, own.hard), hard: own.hard).set()
    // The hard limit is unchanged, so the soft limit can be raised again.
    defer { try? own.set() }
    return try body()
  }
}
