// SpareBackend: one process of the server program that no session uses yet, from its start until a session takes it or it is
// given up.
//
// Its greeting stays unread in the socket: each look peeks at all that has arrived. The event loop reports new octets and the end
// only (edge-triggered), because unread octets would be reported all the time.
//
// Contract: it calls `changed` when it becomes ready, when it can no longer be used, and when it is old. After `take` or `release`
// it calls nothing.
// Failure: the start throws, or `state` is `failed`, with a text that continues "the program".

import CKernel
import Glibc
import SMTPState
import Transport

final class SpareBackend: EventOwner, TimerOwner {
  enum State: Equatable {
    /// Its greeting is pending.
    case starting
    /// It has sent its greeting and waits for a command.
    case ready
    /// It has waited so long that the server may soon end by itself.
    case old
    /// It has ended, or has sent something else.
    case failed(String)
  }

  /// The longest time that one waits for a session. Servers wait for a command for some minutes (RFC 5321, 4.5.3.2.7); some do for less
  /// when they have many clients.
  static let ageMilliseconds = 60_000

  private unowned let daemon: Daemon
  private let changed: (SpareBackend, Int) -> Void
  private var socket: Descriptor?
  private(set) var process: BackendProcess?
  private(set) var state = State.starting
  /// When its greeting was complete; nil before.
  private(set) var readyAt: Int?
  private(set) var deadline: Int?
  var scheduled: Int?

  /// Starts the program.
  init(_ daemon: Daemon, now: Int, _ changed: @escaping (SpareBackend, Int) -> Void) throws(SystemError) {
    self.daemon = daemon
    self.changed = changed
    socket = try daemon.startProgram(Environment.unnamed, for: nil, session: "none (--spare-backends)", &process)
    deadline = Clock.time(daemon.configuration.policy.greetingTimeoutMilliseconds, after: now)
    do throws(SystemError) {
      let watch = Watch(descriptor: socket?.number ?? -1, events: CShort(POLLIN) | CShort(KERNEL_POLLRDHUP))
      try daemon.loop.update(nil, to: watch, for: self, reportsChanges: true)
    } catch {
      release(isAtOnce: true, now: now)
      throw error
    }
    daemon.timers.schedule(self)
  }

  var isReady: Bool { state == .ready }

  func ready(now: Int) {
    let before = state
    look(now: now)
    if state != before { changed(self, now) }
  }

  /// Brings `state` up to date.
  func look(now: Int) {
    switch state {
    case .starting, .ready: break
    case .old, .failed: return
    }
    // Octets that arrived before an end are no greeting of a server that waits: the end counts first.
    if hasEnded {
      state = .failed(isReady ? "ends while it waits for a client" : "ends at its start")
      return
    }
    // One more octet than a greeting may have, so that nothing after it is missed.
    var buffer = [UInt8](repeating: 0, count: SpareGreeting.limit + 1)
    switch buffer.withUnsafeMutableBytes({ socket?.peek(into: $0) ?? .ended }) {
    case .wouldBlock: judge(.incomplete, now: now)
    case .moved(let count): judge(SpareGreeting(buffer.prefix(count)), now: now)
    case .ended, .failed: state = .failed("ends at its start")
    }
  }

  private func judge(_ greeting: SpareGreeting, now: Int) {
    let isDue = deadline.map { $0 <= now } ?? false
    switch greeting {
    case .other(let what): state = .failed(what)
    case .incomplete:
      if isDue { state = .failed("sends no greeting in time") }
    case .complete:
      if isReady {
        if isDue { state = .old }
      } else {
        state = .ready
        readyAt = now
        deadline = Clock.time(SpareBackend.ageMilliseconds, after: now)
        daemon.timers.schedule(self)
      }
    }
  }

  private var hasEnded: Bool {
    guard let number = socket?.number, process?.end == nil else { return true }
    let ends = CInt(KERNEL_POLLRDHUP) | CInt(POLLHUP | POLLERR)
    return ((try? Kernel.pollNow(number, CInt(KERNEL_POLLRDHUP))) ?? ends) & ends != 0
  }

  /// Why it could not be started, if that was the reason of its end. That may have arrived together with the end.
  func startFailure(now: Int) -> String? {
    daemon.starter?.receive(now: now)
    return process?.startFailure
  }

  /// Ends it: its input ends.
  ///
  /// - Parameter isAtOnce: true to signal it as well, without waiting.
  func release(isAtOnce: Bool, now: Int) {
    detach()
    socket = nil
    process?.replace(now: now)
    if isAtOnce, process?.end == nil { process?.terminate(now: now) }
  }

  /// Passes it to a session.
  ///
  /// - Parameter taken: is set to the process.
  func take(_ taken: inout BackendProcess?) -> Descriptor? {
    detach()
    taken = process
    return socket.take()
  }

  private func detach() {
    deadline = nil
    if let number = socket?.number { daemon.loop.remove(number) }
  }
}

