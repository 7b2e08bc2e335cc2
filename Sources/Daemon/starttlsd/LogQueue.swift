// LogQueue: log lines waiting for standard error, whose reader may be slow or gone.
//
// The thread of the event loop must not wait for the reader of the log. Lines go into a queue of a fixed size. It is
// written as far as standard error accepts it, and the loop waits for more room. Lines for which there is no room are
// lost and counted. The count is logged as a line once half of the queue has been written. No flag of the inherited
// description is changed, see `OctetStream.writing`.
//
// With --syslog, and if standard error is the system's log, each line is sent as a datagram, and that does not wait
// either.
//
// Failure: a failed write (no reader, a full disk) is tried again once a second; the content of the queue is kept.

import CKernel
import Glibc
import Logging
import ProgramSupport
import Transport

/// The queue. Only the thread of the event loop uses it; the daemon has no other.
final class LogQueue: @unchecked Sendable {
  // Unchecked: a `Logger` requires a Sendable handler, and there is only one thread.

  /// The maximum number of octets in the queue: some thousand lines.
  static let capacity = 262_144
  private static let retryMilliseconds = 1_000

  private let format: LogFormat
  private var output: OctetStream
  private var syslog: SyslogSender?
  /// Each line is a datagram, which is sent or lost.
  private let isSystemLog = SystemLog.isStandardError
  private var queue = ByteQueue(capacity: LogQueue.capacity)
  private var lost = 0
  private var clock = LogClock()

  private weak var loop: EventLoop?
  private weak var timers: Timers?
  /// Set while standard error accepts nothing.
  private var isWaiting = false
  private var watch: Watch?
  private(set) var deadline: Int?
  var scheduled: Int?

  /// Creates a queue that is written to standard error or, with --syslog, sent to the system log.
  init(_ options: LogOptions) throws {
    format = options.logFormat
    output = try OctetStream.writing(to: STDERR_FILENO)
    if let facility = options.syslog { syslog = try SyslogSender(facility) }
  }

  /// From now on the event loop reports when there is room again.
  func attach(_ loop: EventLoop, _ timers: Timers) {
    self.loop = loop
    self.timers = timers
    isWaiting = false
    drain()
  }

  /// Adds a line, or counts it as lost.
  func append(_ level: Logger.Level, _ message: String, _ fields: [LogField] = []) {
    if syslog != nil {
      syslog?.send(level, message: message, text: LogLine.body(level, message, fields, format))
      return
    }
    if isSystemLog { return StandardStreams.complain("starttlsd", LogLine.body(level, message, fields, format)) }
    let line = LogLine.octets(level, message, fields, format, &clock)
    // After a loss, half of the queue is written first. So losses occur in few groups, each with its count.
    guard lost == 0, line.withUnsafeBytes({ queue.append($0) }) else {
      lost += 1
      return
    }
    if !isWaiting { drain() }
  }

  /// Writes as much as standard error accepts now.
  private func drain() {
    repeat {
      while !queue.isEmpty {
        switch queue.drain({ output.write($0) }) {
        case .moved: continue
        case .wouldBlock: return waitForRoom()
        case .ended, .failed: return waitForRetry()
        }
      }
    } while addLoss()
    stopWaiting()
  }

  /// Adds the line with the number of lost lines; false if there is nothing to add.
  private func addLoss() -> Bool {
    guard lost > 0, queue.count <= LogQueue.capacity / 2 else { return false }
    let text = "\(lost) lines of this log were lost: its reader was too slow, or stopped"
    let line = LogLine.octets(.warning, text, [], format, &clock)
    lost = 0
    return line.withUnsafeBytes { queue.append($0) }
  }

  // MARK: Waiting

  private func waitForRoom() {
    _ = addLoss()
    isWaiting = true
    deadline = nil
    let wanted = Watch(descriptor: output.number(), events: CShort(POLLOUT))
    guard let loop, watch == nil else { return }
    do {
      try loop.update(nil, to: wanted, for: self)
      watch = wanted
    } catch {
      waitForRetry()
    }
  }

  /// Not polled meanwhile: a pipe without a reader is always ready.
  private func waitForRetry() {
    removeWatch()
    isWaiting = true
    deadline = Clock.now() + LogQueue.retryMilliseconds
    timers?.schedule(self)
  }

  private func stopWaiting() {
    removeWatch()
    isWaiting = false
    deadline = nil
  }

  private func removeWatch() {
    if let watch { loop?.remove(watch.descriptor) }
    watch = nil
  }

  /// Called before the process ends: gives the reader a short time to take the last lines.
  func finish() {
    let end = Clock.now() + LogQueue.retryMilliseconds
    drain()
    // Not if there is no reader.
    while !queue.isEmpty, deadline == nil, Clock.now() < end {
      var entry = pollfd(fd: output.number(), events: CShort(POLLOUT), revents: 0)
      _ = poll(&entry, 1, CInt(clamping: end - Clock.now()))
      drain()
    }
  }
}

extension LogQueue: EventOwner, TimerOwner {
  /// Standard error has room, or it is time for the next attempt.
  func ready(now: Int) {
    drain()
  }
}

extension OctetStream {
  // Mutating only because a stored noncopyable value gives access to its parts in no other way.
  fileprivate mutating func number() -> CInt { descriptor.number }
}
