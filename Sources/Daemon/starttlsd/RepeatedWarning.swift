// RepeatedWarning: a warning that strangers can cause as often as they like.
//
// The first one is a line at once. What follows within a minute is counted, and the count is one line at the minute's end.

import Logging

final class RepeatedWarning: TimerOwner {
  private static let intervalMilliseconds = 60_000

  private let log: Logger
  private let timers: Timers
  private var count = 0
  private var last = ""
  /// The end of the minute that runs.
  private(set) var deadline: Int?
  var scheduled: Int?

  init(_ log: Logger, _ timers: Timers) {
    self.log = log
    self.timers = timers
  }

  /// It has happened once more.
  func note(_ text: @autoclosure () -> String, now: Int) {
    guard deadline == nil else {
      count += 1
      last = text()
      return
    }
    log.warning("\(text())")
    deadline = now + RepeatedWarning.intervalMilliseconds
    timers.schedule(self)
  }

  func ready(now: Int) {
    guard let due = deadline, due <= now else { return }
    deadline = count > 0 ? now + RepeatedWarning.intervalMilliseconds : nil
    flush()
  }

  /// Writes what was counted.
  func flush() {
    if count > 0 { log.warning("\(count) times more in the last minute, the last one: \(last)") }
    count = 0
  }
}
