// BackendProcess: one backend program from its start until it is reaped.
//
// When its session ends, the backend reads an end of file on its standard input. It may run on for a grace time,
// because it must finish the delivery of a message that it has accepted. After that it is ended with its whole process
// group:
//
//   SIGTERM to the group; SIGKILL to the group two seconds later, or shortly after the program itself has ended by SIGTERM
//
// A program that ends by itself may leave processes, as some mail servers do to deliver: these are not
// signalled.

import Glibc
import Transport

final class BackendProcess: EventOwner, TimerOwner {
  private static let killMilliseconds = 2_000
  /// The time for the rest of the group after the program itself has ended by SIGTERM. Until then the program is not
  /// reaped, so that its number and the number of the group stay reserved.
  private static let groupMilliseconds = 200
  /// The longest grace time of a process that no session used: it has accepted no message.
  private static let spareGraceMilliseconds = 5_000

  private unowned let daemon: Daemon
  /// The client whose address counts it; nil if it is no client's.
  private var peer: SocketAddress?
  /// True if the client's address counts it, because its session no longer uses it.
  private var isCounted = false
  /// nil after it was reaped: the descriptor must not stay open while a timer still refers to this object.
  private var child: (any BackendChild)?
  private var watch: Watch?

  /// The steps to end it.
  private enum Ending {
    case none
    case asked
    /// It has ended by SIGTERM; the rest of its group has a short time left.
    case group
    case killed
  }
  private var ending = Ending.none

  /// The process number, for messages, once it has ended.
  private(set) var process: CInt = 0
  /// The process number; 0 while it is not known.
  var number: CInt { child?.process ?? process }
  /// The identifier of its session.
  var session = ""
  /// Why the program could not be started, if that was found out after the start of the session.
  private(set) var startFailure: String?
  private(set) var end: ProcessEnd?
  /// True while no session has used it (--spare-backends).
  private(set) var isSpare = false
  /// True if another process replaces it inside TLS.
  private var isReplaced = false
  private(set) var deadline: Int?
  var scheduled: Int?

  /// - Parameter peer: nil for a process that no session uses yet.
  init(_ daemon: Daemon, for peer: SocketAddress?, _ child: any BackendChild) throws(SystemError) {
    self.daemon = daemon
    self.peer = peer
    isSpare = peer == nil
    self.child = child
    if let watch = child.watch { try daemon.loop.update(nil, to: watch, for: self) }
    watch = child.watch
    (child as? StartedChild)?.owner = self
  }

  /// Its session no longer uses it.
  func release(now: Int) {
    guard end == nil, deadline == nil, case .none = ending else { return }
    if let peer {
      isCounted = true
      daemon.addresses.backendRemains(peer, now: now)
    }
    let grace = daemon.configuration.backendGraceMilliseconds
    deadline = now + (isSpare ? min(grace, BackendProcess.spareGraceMilliseconds) : grace)
    daemon.timers.schedule(self)
  }

  /// A session uses it from now on.
  func assign(to session: String, of peer: SocketAddress) {
    self.session = session
    self.peer = peer
    isSpare = false
  }

  /// Its session no longer uses it, because another process replaces it.
  func replace(now: Int) {
    isReplaced = true
    release(now: now)
  }

  /// True if it ended as expected after its session continued without it: its input ended, a write failed, or it got a
  /// signal of ours.
  var isEndedByUs: Bool {
    guard isReplaced else { return false }
    switch end {
    case .exited, nil: return true
    case .signalled(let number):
      if case .none = ending { return number == SIGPIPE }
      return number == SIGPIPE || number == SIGTERM || number == SIGKILL
    }
  }

  /// Requests it to end now.
  func terminate(now: Int) {
    guard case .none = ending else { return }
    deadline = now
    daemon.timers.schedule(self)
  }

  func ready(now: Int) {
    guard let child else { return }
    let isDue = deadline.map { $0 <= now } ?? false
    switch ending {
    case .none, .killed:
      if !reap(), isDue { signalGroup(now: now) }
    case .asked:
      guard child.hasEnded else {
        if isDue { signalGroup(now: now) }
        return
      }
      // The descriptor is readable until the process is reaped.
      removeWatch()
      ending = .group
      deadline = now + BackendProcess.groupMilliseconds
      daemon.timers.schedule(self)
    case .group:
      guard isDue else { return }
      child.signalGroup(SIGKILL)
      _ = reap()
    }
  }

  private func signalGroup(now: Int) {
    let isFirst = if case .none = ending { true } else { false }
    child?.signalGroup(isFirst ? SIGTERM : SIGKILL)
    ending = isFirst ? .asked : .killed
    // The starter loses no signal, and may be slow to read: SIGKILL is not sent to it again.
    deadline = isFirst || !(child is StartedChild) ? now + BackendProcess.killMilliseconds : nil
    daemon.timers.schedule(self)
  }

  /// Reaps it; false if it still runs.
  private func reap() -> Bool {
    do {
      guard let ended = try child?.reap() else { return false }
      end = ended
    } catch {
      // Other code has reaped it: the way it ended is unknown.
      end = .exited(0)
    }
    process = child?.process ?? 0
    startFailure = child?.startFailure
    deadline = nil
    // Its descriptor is closed, and so its registration is removed.
    if let watch { daemon.loop.forget(watch.descriptor) }
    watch = nil
    child = nil
    if isCounted, let peer { daemon.addresses.backendEnded(peer, now: Clock.now()) }
    isCounted = false
    daemon.ended(self)
    return true
  }

  private func removeWatch() {
    if let watch { daemon.loop.remove(watch.descriptor) }
    watch = nil
  }
}
