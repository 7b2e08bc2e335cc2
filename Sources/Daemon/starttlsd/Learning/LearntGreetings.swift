// LearntGreetings: what the program sends, by the local address of the connection, which the program sees too.
//
// Nothing is learnt before the first client of an address; while it is learnt, sessions start the program as without
// --learn-greeting. It is learnt again after the interval of the option, after SIGHUP, and when the program's file has changed. What
// is only old is in use until it is learnt again: at a limit, no session may start the program because there is no process for that.
//
// Contract: `replies` is asked at the start of each session and does not wait. One address is learnt at a time, and only while a
// process is free for a session.
// Failure: one line in the log; sessions of that address start the program. It is tried again after the interval. After a program
// that sent a client something else, the interval doubles each time: each costs one client a 421. Each interval without that halves
// it again. A reply 4yz in place of the learnt one is no such difference: clients could cause it at will.

import Glibc
import Logging
import Transport

final class LearntGreetings {
  /// Addresses over this limit are not learnt: a front can name any number of them.
  private static let limit = 64
  private static let longestMilliseconds = 86_400_000

  private enum State {
    case known(LearntReplies)
    case unknown
  }

  private struct Entry {
    var state = State.unknown
    /// When it is learnt again.
    var until = 0
    /// How often the program has sent something else since its file last changed, less one for each interval in which it has not.
    var differences = 0
    /// The last line about it in the log.
    var logged = ""
  }

  private unowned let daemon: Daemon
  private let settings: LearnSettings
  private var entries: [SocketAddress: Entry] = [:]
  private var learner: GreetingLearner?

  init(_ daemon: Daemon, _ settings: LearnSettings) {
    self.daemon = daemon
    self.settings = settings
  }

  /// What to send to a client that has connected to that address; nil if its session must start the program.
  func replies(at local: SocketAddress, now: Int) -> LearntReplies? {
    guard let entry = entries[local] ?? (entries.count < LearntGreetings.limit ? Entry() : nil) else { return nil }
    if now >= entry.until { learn(local, entry, now: now) }
    guard case .known(let replies) = entries[local]?.state else { return nil }
    return replies
  }

  private func learn(_ local: SocketAddress, _ entry: Entry, now: Int) {
    var entry = entry
    // Another address is being learnt, or no process is free: a later session tries again.
    guard learner == nil, !daemon.isStopping, daemon.admission.hasRoomForAnotherProcess else {
      entry.until = now
      entries[local] = entry
      return
    }
    entry.until = Int.max
    entries[local] = entry
    learner = GreetingLearner(daemon, local: local, now: now) { [unowned self] in finished(local, $0) }
  }

  private func finished(_ local: SocketAddress, _ outcome: GreetingLearner.Outcome) {
    learner = nil
    guard var entry = entries[local] else { return }
    entry.until = Clock.time(settings.intervalMilliseconds, after: Clock.now())
    switch outcome {
    case .learnt(let replies):
      // What was learnt before has been in use until now.
      if case .known = entry.state { entry.differences = max(0, entry.differences - 1) }
      entry.state = .known(replies)
      log(&entry, .info, "\(local): the program's greeting is learnt: a session starts the program when it needs it")
    case .failed(let why):
      entry.state = .unknown
      log(&entry, .warning, "\(local): the program \(why): its greeting is not learnt (--learn-greeting), each session starts the program")
    }
    entries[local] = entry
  }

  /// The program has sent a client something else than what was learnt before that client's session. It may have been learnt again
  /// since.
  func differ(from replies: LearntReplies, at local: SocketAddress, now: Int) {
    guard var entry = entries[local], case .known(replies) = entry.state else { return }
    let factor = 1 << min(entry.differences, 16)
    let pause = min(settings.intervalMilliseconds * factor, max(settings.intervalMilliseconds, LearntGreetings.longestMilliseconds))
    entry.differences += 1
    entry.state = .unknown
    entry.until = Clock.time(pause, after: now)
    let text = "\(local): the program has not sent a client what was learnt (--learn-greeting): each session starts the program for \(pause / 60_000) min"
    log(&entry, .warning, text)
    entries[local] = entry
  }

  /// SIGHUP, or the program's file has changed: everything is learnt again.
  func forget(now: Int) {
    cancel(now: now)
    for local in entries.keys {
      entries[local]?.state = .unknown
      entries[local]?.until = now
      entries[local]?.differences = 0
    }
  }

  /// The daemon stops.
  func cancel(now: Int) {
    learner?.cancel(now: now)
    learner = nil
  }

  /// The same line is not logged twice in a row.
  private func log(_ entry: inout Entry, _ level: Logger.Level, _ text: String) {
    guard entry.logged != text else { return }
    entry.logged = text
    daemon.log.log(level: level, "\(text)")
  }
}
