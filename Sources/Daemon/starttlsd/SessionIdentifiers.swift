// SessionIdentifiers: a short name for each session, in the log, in the status and in the program's environment.
//
// It is the time of the session's start in microseconds since 1970, as 11 characters in Crockford's base 32: digits and
// lower-case letters without i, l, o and u. Each is larger than the one before, also if the clock is set back, so that
// names are unique within a run and their order is the order of the sessions. Of several workers each has numbers of its own:
// those that leave its own remainder, divided by the number of workers.

import Glibc

struct SessionIdentifiers {
  private static let digits = Array("0123456789abcdefghjkmnpqrstvwxyz".utf8)
  /// 55 bits: enough until the year 3111.
  private static let length = 11

  private var last: UInt64 = 0
  private let remainder: UInt64
  private let count: UInt64

  init(_ worker: WorkerRole?) {
    remainder = UInt64((worker?.number ?? 1) - 1)
    count = UInt64(worker?.count ?? 1)
  }

  mutating func next() -> String {
    var time = timespec()
    _ = clock_gettime(CLOCK_REALTIME, &time)
    let now = UInt64(clamping: time.tv_sec) &* 1_000_000 &+ UInt64(clamping: time.tv_nsec / 1000)
    let least = max(now, last &+ 1)
    last = least &+ (remainder &+ count &- least % count) % count
    return SessionIdentifiers.text(last)
  }

  static func text(_ number: UInt64) -> String {
    let octets = (0..<length).map { digits[Int(truncatingIfNeeded: number >> UInt64(5 * (length - 1 - $0)) & 31)] }
    return String(decoding: octets, as: UTF8.self)
  }
}
