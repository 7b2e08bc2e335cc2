// RefusalCount: the sessions that an engine has refused since its last line about them. There is at most one line each second.

/// Refused sessions that are not in the log yet.
struct RefusalCount {
  private static let intervalMilliseconds = 1_000
  private var count = 0
  private var next = Int.min

  /// When a line is due; nil if no session was refused since the last one.
  var deadline: Int? { count > 0 ? next : nil }

  /// A session was refused.
  mutating func add() { count += 1 }

  /// The number for the line, if one is due.
  mutating func take(now: Int) -> Int? {
    guard count > 0, now >= next else { return nil }
    next = now + RefusalCount.intervalMilliseconds
    defer { count = 0 }
    return count
  }
}
