// The end of the daemon: the grace time, the 421 for clients between two commands, the close.
//
// It ends also if the process that starts the programs does not answer, as in execve(2) of a file system that is gone.

import Logging
import Transport

extension Daemon {
  var isStopped: Bool {
    if case .no = stopping, !isSingle { return false }
    return headers.isEmpty && waits.isEmpty && sessions.isEmpty && processes.isEmpty && refusals.isEmpty
  }

  var stopDeadline: Int? {
    switch stopping {
    case .no: nil
    case .grace(let until), .closing(let until): until
    case .cutOff(let until): until
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
    stopping = .grace(until: now + configuration.graceMilliseconds)
    notification.stopping(statusText)
    // The worker that replaces this one answers there. After the notification: the supervisor then knows why an answer ends early.
    if configuration.passedDescriptors.worker != nil { closeReports() }
  }

  /// The next step of stopping.
  func goOnStopping(now: Int) {
    switch stopping {
    case .no: break
    case .grace:
      stopping = .closing(until: now + Daemon.closingMilliseconds)
      for header in headers.values { header.stop(now: now) }
      for wait in waits.values { wait.finish(.stopped, now: now) }
      for session in sessions.values { session.shutDown(now: now) }
      for process in processes.values { process.terminate(now: now) }
    case .closing:
      stopping = .cutOff(until: now + Daemon.cutOffMilliseconds)
      for session in sessions.values { session.stop(now: now) }
      for refusal in refusals.values { refusal.finish() }
    case .cutOff(let until):
      // A signal does not shorten it.
      guard let until, until <= now else { return }
      stopping = .cutOff(until: nil)
      guard let starter, !processes.isEmpty else { return }
      log.error(
        """
        starttlsd-start, which starts the server program, has not reported the ends of \(processes.count) programs after SIGKILL: they may \
        still run: look for a file system that does not answer
        """)
      starter.forgetAll(now: now)
    }
  }
}
