// Clock: the only clock of this layer, in milliseconds.

import Glibc

/// Monotonic time for deadlines. It does not jump when the date is set.
public enum Clock {
  /// Milliseconds since some point in the past (CLOCK_MONOTONIC).
  public static func now() -> Int {
    var time = timespec()
    _ = clock_gettime(CLOCK_MONOTONIC, &time)
    return Int(time.tv_sec) * 1000 + Int(time.tv_nsec) / 1_000_000
  }

  /// The point in time that is this many milliseconds after another one. The result saturates at the largest value.
  package static func time(_ milliseconds: Int, after start: Int) -> Int {
    let (sum, hasOverflowed) = start.addingReportingOverflow(milliseconds)
    guard hasOverflowed else { return sum }
    return milliseconds > 0 ? Int.max : Int.min
  }
}
