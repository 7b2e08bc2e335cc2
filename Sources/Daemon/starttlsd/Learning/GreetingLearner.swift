// GreetingLearner: learns what the program sends at one address, with three starts, one after the other.
//
// The three clients have other addresses and names, and more than a second passes between the first start and the last: a
// greeting with the time or with a number of its own differs. All that they are sent must be equal, octet by octet.
//
// Contract: it calls `finished` once, unless it is cancelled. One process is reserved meanwhile.
// Failure: a text that continues "the program".

import Transport

final class GreetingLearner: TimerOwner {
  enum Outcome {
    case learnt(LearntReplies)
    case failed(String)
  }

  /// From the first start to the last one.
  private static let spreadMilliseconds = 1_100

  private unowned let daemon: Daemon
  private let local: SocketAddress
  private let finished: (Outcome) -> Void
  private let startedAt: Int
  private var shown: [ShownReplies] = []
  private var start: LearningStart?
  private(set) var deadline: Int?
  var scheduled: Int?

  init(_ daemon: Daemon, local: SocketAddress, now: Int, _ finished: @escaping (Outcome) -> Void) {
    self.daemon = daemon
    self.local = local
    self.finished = finished
    startedAt = now
    deadline = now
    daemon.reserve(1)
    daemon.timers.schedule(self)
  }

  /// Ends it. `finished` is not called.
  func cancel(now: Int) {
    guard start != nil || deadline != nil else { return }
    deadline = nil
    start?.cancel(now: now)
    start = nil
    daemon.reserve(-1)
  }

  func ready(now: Int) {
    guard let due = deadline, due <= now else { return }
    deadline = nil
    do throws(SystemError) {
      start = try LearningStart(daemon, LearningClient.all[shown.count], local: local, now: now) { [unowned self] in take($0) }
    } catch {
      end(.failed("cannot be started: \(error)"))
    }
  }

  private func take(_ outcome: LearningStart.Outcome) {
    switch outcome {
    case .failed(let why): return end(.failed(why))
    case .shown(let replies): shown.append(replies)
    }
    if let difference { return end(.failed(difference)) }
    start = nil
    guard shown.count == LearningClient.all.count else {
      let isLast = shown.count + 1 == LearningClient.all.count
      deadline = isLast ? startedAt + GreetingLearner.spreadMilliseconds : Clock.now()
      return daemon.timers.schedule(self)
    }
    end(.learnt(LearntReplies(greeting: shown[0].greeting, hello: shown[0].hello ?? [], quit: shown[0].quit)))
  }

  /// What the last start has shown that the first one has not; nil if nothing.
  private var difference: String? {
    guard let first = shown.first, let last = shown.last else { return nil }
    let names = [
      first.greeting == last.greeting ? nil : "its greeting", last.hello == nil || first.hello == last.hello ? nil : "its reply to EHLO",
      first.quit == last.quit ? nil : "its reply to QUIT",
    ]
    return names.compactMap(\.self).first.map { "does not send every client the same at all times: \($0) differs" }
  }

  private func end(_ outcome: Outcome) {
    start = nil
    deadline = nil
    daemon.reserve(-1)
    finished(outcome)
  }
}
