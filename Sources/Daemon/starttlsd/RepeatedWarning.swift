// RepeatedWarning: a warning that any client can cause repeatedly.
//
// The first one is logged at once. Those within the next minute are counted, and the count is logged at the end of the
// minute.

import Logging

final class RepeatedWarning: TimerOwner {
  private static let intervalMilliseconds = 60_000

  private let log: Logger
  private let timers: Timers
  private var count = 0
  private var last = ""
  /// The end of the current minute.
  private(set) var deadline: Int?
  var scheduled: Int?

  init(_ log: Logger, _ timers: Timers) {
    self.log = log
    self.timers = timers
  }

  /// The event occurred again.
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

  /// Logs the count.
  func flush() {
    if count > 0 { log.warning("\(count) times more in the last minute, the last one: \(last)") }
    count = 0
  }
}
