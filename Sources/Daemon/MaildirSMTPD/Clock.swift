// Clock: the time of day for names and dates, and monotonic time for deadlines.

import Glibc

/// A moment of the wall clock.
public struct WallTime: Hashable, Sendable {
  /// Seconds since 1970-01-01 00:00:00 UTC.
  public let seconds: Int64
  /// 0 to 999,999.
  public let microseconds: Int64

  /// Creates a time from its parts.
  public init(seconds: Int64, microseconds: Int64 = 0) {
    self.seconds = seconds
    self.microseconds = microseconds
  }

  /// The current time.
  public static func now() -> WallTime {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return WallTime(seconds: Int64(time.tv_sec), microseconds: Int64(time.tv_nsec) / 1000)
  }
}

/// A point in monotonic time.
struct Deadline: Hashable, Sendable {
  private let milliseconds: Int64

  /// The point in time this many seconds from now. The number is limited to one year, so that nothing overflows.
  init(secondsFromNow seconds: Int) {
    let bounded = Int64(max(0, min(seconds, 31_536_000)))
    self.milliseconds = Deadline.present() + bounded * 1000
  }

  /// The remaining milliseconds, for poll(2); 0 if the point in time has passed.
  var remainingMilliseconds: CInt {
    CInt(max(0, min(milliseconds - Deadline.present(), Int64(CInt.max))))
  }

  private static func present() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
  }
}
