// OpenFilesLimit: how many descriptors a process may have (RLIMIT_NOFILE).
//
// A program that raises its own limit must not hand the raised one to its children: old programs close every number up to
// the limit, and those that use select(2) fail on numbers of 1024 and more.

import CKernel
import Glibc

/// The two limits of descriptors: the soft one counts, and may be raised up to the hard one.
public struct OpenFilesLimit: Hashable, Sendable {
  /// The number of descriptors that the kernel allows.
  public var soft: UInt
  /// The number up to which the soft limit may be raised.
  public var hard: UInt

  /// These limits; nothing is set.
  public init(soft: UInt, hard: UInt) {
    self.soft = soft
    self.hard = hard
  }

  /// The limits of this process.
  public static func current() throws(SystemError) -> OpenFilesLimit {
    let limit = try Kernel.openFilesLimit()
    return OpenFilesLimit(soft: limit.rlim_cur, hard: limit.rlim_max)
  }

  /// Makes these the limits of this process.
  public func set() throws(SystemError) {
    try Kernel.setOpenFilesLimit(rlimit(rlim_cur: soft, rlim_max: hard))
  }

  /// Has this soft limit for the time of a call that starts a child, which inherits it. Descriptors that are open stay
  /// open. Only in a process with one thread: another one could open nothing meanwhile.
  func during<Result>(_ body: () throws(SystemError) -> Result) throws(SystemError) -> Result {
    let own = try OpenFilesLimit.current()
    guard own.soft != soft else { return try body() }
    try OpenFilesLimit(soft: min(soft, own.hard), hard: own.hard).set()
    // The hard limit has not moved, so going back up is allowed.
    defer { try? own.set() }
    return try body()
  }
}
