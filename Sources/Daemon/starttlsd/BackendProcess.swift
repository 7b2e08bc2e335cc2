// BackendProcess: one backend program from its start until it is reaped.
//
// Its session's end shows to it as the end of its standard input. One that does not end by that within a grace time gets
// SIGTERM, then SIGKILL. It may outlive its session for that long: a message that it has accepted is its to finish.

import Glibc
import Transport

final class BackendProcess: EventOwner, TimerOwner {
  private unowned let daemon: Daemon
  /// nil once it was reaped: the descriptor of the process must not stay open for as long as a timer remembers this object.
  private var child: ChildProcess?
  private var watch: Watch?
  private var signalsSent = 0

  let process: CInt
  private(set) var end: ProcessEnd?
  /// Another one takes its place inside TLS.
  private var isReplaced = false
  private(set) var deadline: Int?
  var scheduled: Int?

  init(
    _ daemon: Daemon, _ arguments: [String], environment: [String], standardStreams: borrowing Descriptor
  ) throws(SystemError) {
    self.daemon = daemon
    let child = try ChildProcess(arguments, environment: environment, standardStreams: standardStreams)
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
    case .signalled(let number): return number == SIGPIPE || signalsSent > 0 && (number == SIGTERM || number == SIGKILL)
    }
  }

  /// It is to end now.
  func terminate(now: Int) {
    deadline = now
    daemon.timers.schedule(self)
  }

  func ready(now: Int) {
    let ended: ProcessEnd?
    do {
      ended = try child?.reap()
    } catch {
      // Somebody else has reaped it: its end is not to be learnt any more.
      ended = .exited(0)
    }
    if let ended {
      end = ended
      deadline = nil
      if let watch { daemon.loop.remove(watch.descriptor) }
      child = nil
      daemon.ended(self)
    } else if let due = deadline, due <= now {
      try? child?.send(signalsSent == 0 ? SIGTERM : SIGKILL)
      signalsSent += 1
      deadline = now + 2_000
    }
  }
}

extension ChildProcess {
  // Mutating in form only: an Optional of a noncopyable value lends its payload to nothing else.
  fileprivate mutating func send(_ number: CInt) throws(SystemError) { try signal(number) }
}
