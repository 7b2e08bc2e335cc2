// Running: a closure on a thread of its own, for tests that are on both sides of something that may wait.

import Foundation

/// A closure that runs beside the test. What it captured is given back before `wait` returns.
final class Running<Result>: @unchecked Sendable {
  // Unchecked: `body` and `result` are the thread's until it has signalled, and the test's afterwards.
  private var body: (() -> Result)?
  private(set) var result: Result?
  private let done = DispatchSemaphore(value: 0)
  private var isDone = false

  init(_ body: @escaping () -> Result) {
    self.body = body
    Thread.detachNewThread { [self] in
      result = run()
      done.signal()
    }
  }

  /// Waits until the closure has come to its end.
  func wait() {
    if !isDone { done.wait() }
    isDone = true
  }

  private func run() -> Result? {
    let body = self.body.take()
    return body?()
  }
}
