// ProgressTimer: a timeout that only enough progress restarts.
//
// A timer that any octet restarts never ends a peer that moves one octet now and then. This one counts: once started, it
// starts again only when `leastOctets` have moved since its last start.

/// A timer for octets that are to move. Times are `Clock` milliseconds.
package struct ProgressTimer: Sendable {
  /// When it passes; nil while it does not run.
  package private(set) var until: Int?

  private let milliseconds: Int
  private let leastOctets: Int
  private var moved = 0

  /// - Parameters:
  ///   - milliseconds: its length.
  ///   - leastOctets: how many octets have to move in that time.
  package init(milliseconds: Int, leastOctets: Int) {
    self.milliseconds = milliseconds
    self.leastOctets = leastOctets
  }

  /// Starts it, unless it runs.
  package mutating func start(now: Int) {
    if until == nil { restart(now: now) }
  }

  /// Stops it: there is nothing to wait for.
  package mutating func stop() {
    until = nil
  }

  /// Octets have moved.
  package mutating func moved(_ octets: Int, now: Int) {
    guard until != nil else { return }
    moved += octets
    if moved >= leastOctets { restart(now: now) }
  }

  /// Whether it has passed.
  package func hasPassed(now: Int) -> Bool {
    until.map { now >= $0 } ?? false
  }

  private mutating func restart(now: Int) {
    until = Clock.time(milliseconds, after: now)
    moved = 0
  }
}
