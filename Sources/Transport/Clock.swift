// Clock: the one clock of this layer, in milliseconds.

import Glibc

/// Monotonic time. Deadlines are points in it; it never jumps when somebody sets the date.
public enum Clock {
  /// Milliseconds since some point in the past (CLOCK_MONOTONIC).
  public static func now() -> Int {
    var time = timespec()
    _ = clock_gettime(CLOCK_MONOTONIC, &time)
    return Int(time.tv_sec) * 1000 + Int(time.tv_nsec) / 1_000_000
  }
}
