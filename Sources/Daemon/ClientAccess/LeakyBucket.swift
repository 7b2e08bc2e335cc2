// LeakyBucket: counts events, of which a fixed number drains in a minute. One number holds the state.
//
// The number is the time at which the bucket will be empty. An event moves it by the time in which one event drains.

/// The capacity of a bucket, and the time in which one event drains.
struct BucketSize {
  let capacity: Int
  let microseconds: Int

  /// For a limit of this many events per minute; all of them may come at once.
  static func perMinute(_ number: Int) -> BucketSize {
    BucketSize(capacity: number, microseconds: number > 0 ? 60_000_000 / number : 0)
  }

  /// No limit.
  var isUnlimited: Bool { capacity == 0 }
}

struct LeakyBucket {
  /// In microseconds of `Clock`.
  private var emptyAt = 0

  /// The number of events in it, rounded up. Times are `Clock` milliseconds.
  func level(_ size: BucketSize, now: Int) -> Int {
    let rest = emptyAt - now * 1000
    return rest <= 0 ? 0 : (rest + size.microseconds - 1) / size.microseconds
  }

  func isFull(_ size: BucketSize, now: Int) -> Bool { !size.isUnlimited && level(size, now: now) >= size.capacity }

  /// Adds events. The level rises to twice the capacity at most, so that the longest refusal is known.
  mutating func add(_ count: Int, _ size: BucketSize, now: Int) {
    guard !size.isUnlimited else { return }
    let now = now * 1000
    emptyAt = min(max(emptyAt, now) + count * size.microseconds, now + 2 * size.capacity * size.microseconds)
  }

  func isEmpty(now: Int) -> Bool { emptyAt <= now * 1000 }
}
