// ProgressTimer: a timeout that restarts only after enough progress.
//
// If any octet restarted the timer, a peer that moves one octet now and then would never time out. This timer counts:
// it restarts only when `leastOctets` octets have moved since its last start.

/// A timer for expected octets. Times are `Clock` milliseconds.
package struct ProgressTimer: Sendable {
  /// When it expires; nil while it is stopped.
  package private(set) var until: Int?

  private let milliseconds: Int
  private let leastOctets: Int
  private var moved = 0

  /// - Parameters:
  ///   - milliseconds: the length of the timer.
  ///   - leastOctets: how many octets must move in that time.
  package init(milliseconds: Int, leastOctets: Int) {
    self.milliseconds = milliseconds
    self.leastOctets = leastOctets
  }

  /// Starts the timer unless it runs.
  package mutating func start(now: Int) {
    if until == nil { restart(now: now) }
  }

  /// Stops the timer: nothing is pending.
  package mutating func stop() {
    until = nil
  }

  /// Records that octets have moved.
  package mutating func moved(_ octets: Int, now: Int) {
    guard until != nil else { return }
    moved += octets
    if moved >= leastOctets { restart(now: now) }
  }

  /// True if the timer has expired.
  package func hasPassed(now: Int) -> Bool {
    until.map { now >= $0 } ?? false
  }

  private mutating func restart(now: Int) {
    until = Clock.time(milliseconds, after: now)
    moved = 0
  }
}
