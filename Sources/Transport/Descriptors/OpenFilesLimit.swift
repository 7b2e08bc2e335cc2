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

  /// Raises the limit of this process to a number of descriptors, as far as possible: the soft limit up to the hard one, and both up
  /// to the kernel's own limit if this process may do that (CAP_SYS_RESOURCE). A higher limit stays.
  ///
  /// - Returns: the limits that are in force.
  package static func raise(to needed: UInt) throws(SystemError) -> OpenFilesLimit {
    var limit = try current()
    guard limit.soft < needed else { return limit }
    if limit.hard < needed {
      let most = min(needed, max(kernelLimit(), limit.hard))
      let raised = OpenFilesLimit(soft: most, hard: most)
      if most > limit.hard, (try? raised.set()) != nil { return raised }
    }
    limit.soft = min(needed, limit.hard)
    try limit.set()
    return limit
  }

  /// The highest number that any hard limit may have (fs.nr_open, see proc(5)); the kernel's default if it cannot be read.
  private static func kernelLimit() -> UInt {
    var digits = [UInt8](repeating: 0, count: 32)
    guard let number = try? Kernel.open("/proc/sys/fs/nr_open", O_RDONLY) else { return 1_048_576 }
    let file = Descriptor(adopting: number)
    let count = (try? digits.withUnsafeMutableBytes { try Kernel.read(file.number, $0) }) ?? 0
    let text = String(decoding: digits.prefix(count), as: UTF8.self)
    return text.split(separator: "\n").first.flatMap { UInt($0) } ?? 1_048_576
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
