// The end of the daemon: the grace time, the 421 for clients between two commands, the close.

import Logging
import Transport

extension Daemon {
  var isStopped: Bool {
    if case .no = stopping, !isSingle { return false }
    return headers.isEmpty && waits.isEmpty && sessions.isEmpty && processes.isEmpty && refusals.isEmpty
  }

  var stopDeadline: Int? {
    switch stopping {
    case .no, .cutOff: nil
    case .grace(let until), .closing(let until): until
    }
  }

  /// A signal was received.
  func stop(now: Int) {
    guard case .no = stopping else { return goOnStopping(now: now) }
    log.info("stopping: \(sessions.count) sessions have \(configuration.graceMilliseconds / 1000) s to end")
    listen(false)
    learning?.cancel(now: now)
    spares?.close(now: now)
    for listener in listeners { listener.close() }
    listeners = []
    // The worker that replaces this one answers there.
    if configuration.supervision.worker != nil { closeReports() }
    stopping = .grace(until: now + configuration.graceMilliseconds)
    notification.stopping(statusText)
  }

  /// The next step of stopping.
  func goOnStopping(now: Int) {
    switch stopping {
    case .no, .cutOff: break
    case .grace:
      stopping = .closing(until: now + Daemon.closingMilliseconds)
      for header in headers.values { header.stop(now: now) }
      for wait in waits.values { wait.finish(.stopped, now: now) }
      for session in sessions.values { session.shutDown(now: now) }
      for process in processes.values { process.terminate(now: now) }
    case .closing:
      stopping = .cutOff
      for session in sessions.values { session.stop(now: now) }
      for refusal in refusals.values { refusal.finish() }
    }
  }
}
