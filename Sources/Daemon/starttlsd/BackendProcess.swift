// BackendProcess: one backend program from its start until it is reaped.
//
// Its session's end shows to it as the end of its standard input. It may outlive its session for a grace time: a message
// that it has accepted is its to finish. After that it is ended with its whole process group:
//
//   SIGTERM to the group; SIGKILL to the group two seconds later, or a moment after the program itself has ended of it
//
// A program that ends by itself may leave processes behind, as some mail servers do to deliver: they are left alone.

import Glibc
import Transport

final class BackendProcess: EventOwner, TimerOwner {
  private static let killMilliseconds = 2_000
  /// For the rest of the group, once the program itself has ended of SIGTERM. It is not reaped for so long: its number
  /// stays its own, and the group's.
  private static let groupMilliseconds = 200

  private unowned let daemon: Daemon
  /// nil once it was reaped: the descriptor of the process must not stay open for as long as a timer remembers this object.
  private var child: ChildProcess?
  private var watch: Watch?

  /// What was done to end it.
  private enum Ending {
    case none
    case asked
    /// It has ended of SIGTERM; the rest of its group has a moment.
    case group
    case killed
  }
  private var ending = Ending.none

  let process: CInt
  private(set) var end: ProcessEnd?
  /// Another one takes its place inside TLS.
  private var isReplaced = false
  private(set) var deadline: Int?
  var scheduled: Int?

  init(
    _ daemon: Daemon, _ arguments: [String], environment: [String], standardStreams: borrowing Descriptor,
    limit: OpenFilesLimit
  ) throws(SystemError) {
    self.daemon = daemon
    let child = try ChildProcess(
      arguments, environment: environment, standardStreams: standardStreams, limit: limit)
    process = child.process
    let watch = Watch(descriptor: child.descriptor.number, events: CShort(POLLIN))
    self.child = consume child
    try daemon.loop.update(nil, to: watch, for: self)
    self.watch = watch
  }

  /// Its session has let go of it.
  func release(now: Int) {
    guard end == nil, deadline == nil else { return }
    deadline = now + daemon.configuration.backendGraceMilliseconds
    daemon.timers.schedule(self)
  }

  /// Its session has let go of it for another one.
  func replace(now: Int) {
    isReplaced = true
    release(now: now)
  }

  /// Whether it ended as one does whose session has gone on without it: its input ended, it could not write, or it was told
  /// to end.
  var isEndedByUs: Bool {
    guard isReplaced else { return false }
    switch end {
    case .exited, nil: return true
    case .signalled(let number):
      if case .none = ending { return number == SIGPIPE }
      return number == SIGPIPE || number == SIGTERM || number == SIGKILL
    }
  }

  /// It is to end now.
  func terminate(now: Int) {
    guard case .none = ending else { return }
    deadline = now
    daemon.timers.schedule(self)
  }

  func ready(now: Int) {
    guard child != nil else { return }
    let isDue = deadline.map { $0 <= now } ?? false
    guard child?.isOver() == true else {
      if isDue { signalGroup(now: now) }
      return
    }
    switch ending {
    case .none, .killed: reap()
    case .asked:
      // Readable for as long as it is not reaped.
      removeWatch()
      ending = .group
      deadline = now + BackendProcess.groupMilliseconds
      daemon.timers.schedule(self)
    case .group:
      guard isDue else { return }
      try? child?.sendToGroup(SIGKILL)
      reap()
    }
  }

  private func signalGroup(now: Int) {
    let isFirst = if case .none = ending { true } else { false }
    try? child?.sendToGroup(isFirst ? SIGTERM : SIGKILL)
    ending = isFirst ? .asked : .killed
    deadline = now + BackendProcess.killMilliseconds
    daemon.timers.schedule(self)
  }

  private func reap() {
    do {
      guard let ended = try child?.reap() else { return }
      end = ended
    } catch {
      // Somebody else has reaped it: its end is not to be learnt any more.
      end = .exited(0)
    }
    deadline = nil
    removeWatch()
    child = nil
    daemon.ended(self)
  }

  private func removeWatch() {
    if let watch { daemon.loop.remove(watch.descriptor) }
    watch = nil
  }
}

extension ChildProcess {
  // Mutating in form only: an Optional of a noncopyable value lends its payload to nothing else.
  fileprivate mutating func isOver() -> Bool { hasEnded() }
  fileprivate mutating func sendToGroup(_ number: CInt) throws(SystemError) { try signalGroup(number) }
}
