// SpareBackends: processes of the server program that are started and past their greeting before a client needs them.
//
// One is started at a time, never in the turn of a session. What a session takes is what a start of its own would give it after the
// program's greeting has arrived: a socket from which nothing was read. A spare process serves one session, and no process that has
// served is ever spare again.
//
//   given up and replaced   it ended, sent something besides a greeting 220, did not greet in time; it is old; SIGHUP; the program's
//                           file was replaced or written to
//
// Contract: `take` does not wait. Spare processes count in --max-backends, and each one takes the place
// of a start that a session would need. They are started only while there is room for one besides both processes of a session.
// Failure: one line in the log, the same one at most once an hour; sessions start the program themselves. After failures the
// next start waits for 1, 2, 4, up to 60 seconds.

import Glibc
import Logging
import Transport

final class SpareBackends: TimerOwner {
  /// Why one was given up, for the metrics.
  enum Reason: String, CaseIterable {
    case failed, old, reload, file, stop
  }

  private static let longestPauseMilliseconds = 60_000
  /// A process that fails after waiting for less than this has failed at once.
  private static let soonMilliseconds = 10_000
  /// The next look for room, when a limit was reached.
  private static let roomMilliseconds = 1_000
  private static let logMilliseconds = 3_600_000

  private unowned let daemon: Daemon
  private let settings: SpareSettings
  /// The oldest first.
  private var spares: [SpareBackend] = []
  private var isOpen = false
  /// How many have failed at once, one after the other.
  private var failures = 0
  /// No start before this time.
  private var pausedUntil = 0
  private var logged: (text: String, until: Int)?
  /// How many sessions have taken one.
  private var taken = 0
  private var discarded = 0
  /// The next start.
  private(set) var deadline: Int?
  var scheduled: Int?

  init(_ daemon: Daemon, _ settings: SpareSettings) {
    self.daemon = daemon
    self.settings = settings
  }

  /// How many wait for a session.
  private var ready: Int { spares.count(where: \.isReady) }

  /// For the status.
  var report: StatusReport.Spares { StatusReport.Spares(ready: ready, wanted: settings.number, taken: taken, discarded: discarded) }

  /// Starts them, one after the other.
  func begin(now: Int) {
    isOpen = true
    fill(at: now)
  }

  /// No session needs them any more.
  func close(now: Int) {
    isOpen = false
    deadline = nil
    giveUpAll(.stop, now: now)
  }

  /// After SIGHUP, since the program may read its configuration at its start, or after a change of the program's file.
  func renew(_ reason: Reason, now: Int) {
    guard isOpen else { return }
    failures = 0
    pausedUntil = now
    logged = nil
    giveUpAll(reason, now: now)
    fill(at: now)
  }

  // MARK: Sessions

  /// Passes a process that has greeted to a session; nil if none is ready.
  ///
  /// - Parameter process: is set to the process.
  func take(for peer: SocketAddress, session: String, _ process: inout BackendProcess?, now: Int) -> Descriptor? {
    while let spare = spares.first(where: \.isReady) {
      spare.look(now: now)
      guard spare.isReady else {
        changed(spare, now: now)
        continue
      }
      remove(spare)
      taken += 1
      daemon.metrics.count(.sparesTaken)
      failures = 0
      fill(at: now)
      let socket = spare.take(&process)
      process?.assign(to: session, of: peer)
      return socket
    }
    return nil
  }

  // MARK: Starts and ends

  /// Schedules the next start.
  private func fill(at time: Int) {
    guard isOpen else { return }
    deadline = max(time, pausedUntil)
    daemon.timers.schedule(self)
  }

  func ready(now: Int) {
    guard let due = deadline, due <= now else { return }
    deadline = nil
    guard isOpen, spares.count < settings.number, spares.allSatisfy(\.isReady) else { return }
    guard daemon.admission.hasRoomForAnotherProcess else { return fill(at: Clock.time(SpareBackends.roomMilliseconds, after: now)) }
    do throws(SystemError) {
      spares.append(try SpareBackend(daemon, now: now) { [unowned self] spare, now in changed(spare, now: now) })
    } catch {
      failed("the backend cannot be started: \(error)", isAtOnce: true, now: now)
    }
  }

  /// One has come to another state.
  private func changed(_ spare: SpareBackend, now: Int) {
    switch spare.state {
    case .starting: return
    case .ready:
      count()
      fill(at: now)
    case .old:
      failures = 0
      giveUp(spare, .old, now: now)
      fill(at: now)
    case .failed(let what): giveUp(spare, after: what, now: now)
    }
  }

  /// A process of the program has ended that no session used.
  func ended(_ process: BackendProcess, now: Int) {
    guard let spare = spares.first(where: { $0.process === process }) else { return }
    spare.look(now: now)
    changed(spare, now: now)
  }

  private func giveUp(_ spare: SpareBackend, after what: String, now: Int) {
    guard spares.contains(where: { $0 === spare }) else { return }
    // Before messages of the starter are taken, which may report the same end.
    remove(spare)
    let why = spare.startFailure(now: now)
    giveUp(spare, .failed, now: now)
    let life = now - (spare.readyAt ?? now)
    failed(why ?? "the program \(what)", isAtOnce: life < SpareBackends.soonMilliseconds, now: now)
  }

  private func giveUpAll(_ reason: Reason, now: Int) {
    for spare in spares { giveUp(spare, reason, now: now) }
  }

  private func giveUp(_ spare: SpareBackend, _ reason: Reason, now: Int) {
    remove(spare)
    discarded += 1
    daemon.metrics.count(.sparesDiscarded, [("reason", reason.rawValue)])
    spare.release(isAtOnce: reason == .failed, now: now)
  }

  private func remove(_ spare: SpareBackend) {
    spares.removeAll { $0 === spare }
    count()
  }

  /// Each that is ready takes the place of a start in the limits.
  private func count() {
    daemon.admission.spares = ready
    daemon.reconsider()
  }

  private func failed(_ what: String, isAtOnce: Bool, now: Int) {
    failures = isAtOnce ? failures + 1 : 0
    let pause = isAtOnce ? min(SpareBackends.longestPauseMilliseconds, 1_000 << min(failures - 1, 6)) : 0
    pausedUntil = Clock.time(pause, after: now)
    fill(at: pausedUntil)
    if let logged, logged.text == what, now < logged.until { return }
    logged = (what, Clock.time(SpareBackends.logMilliseconds, after: now))
    daemon.log.warning("\(what): a spare process is given up (--spare-backends); a session starts the program where none is ready")
  }
}
