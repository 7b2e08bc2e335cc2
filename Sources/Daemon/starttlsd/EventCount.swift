// EventCount: how often something has happened, since the start and within the last minute.

struct EventCount {
  private static let seconds = 60

  private(set) var total = 0
  /// The counts of single seconds; that of second S has the index S modulo 60.
  private var counts = [Int](repeating: 0, count: EventCount.seconds)
  private var second = 0

  /// - Parameter now: `Clock.now()`.
  mutating func add(now: Int) {
    total += 1
    forget(before: now / 1000)
    counts[second % EventCount.seconds] += 1
  }

  /// Within the last 60 seconds.
  func lastMinute(now: Int) -> Int {
    var copy = self
    copy.forget(before: now / 1000)
    return copy.counts.reduce(0, +)
  }

  /// Makes `now` the current second.
  private mutating func forget(before now: Int) {
    guard now > second else { return }
    for passed in max(second + 1, now - EventCount.seconds + 1)...now { counts[passed % EventCount.seconds] = 0 }
    second = now
  }
}
