// LogQueue: log lines on their way to standard error, which may take them late or never.
//
// The loop's thread must not wait for whoever reads the log. Lines go into a queue of a fixed size; it is written as far as
// standard error takes it, and the loop waits for more room. Lines for which there is no room are lost and counted; the
// count is a line of its own once half of the queue has been written. No flag of the inherited description is changed, see
// `OctetStream.writing`.
//
// The system's log, where that stands at the place of standard error, gets its lines one by one, and never waits either.
//
// A write that fails (no reader, a full disk) is tried again once a second; what is in the queue stays there.

import CKernel
import Glibc
import Logging
import ProgramSupport
import Transport

/// The queue. Used by the loop's thread alone; the daemon has no other.
final class LogQueue: @unchecked Sendable {
  // Unchecked: a `Logger` wants its handler to be Sendable, and there is one thread.

  /// How many octets wait at most: some thousand lines.
  static let capacity = 262_144
  private static let retryMilliseconds = 1_000

  private var output: OctetStream
  /// Each line is a datagram, which is sent or lost.
  private let isSystemLog = SystemLog.isStandardError
  private var queue = ByteQueue(capacity: LogQueue.capacity)
  private var lost = 0

  private weak var loop: EventLoop?
  private weak var timers: Timers?
  /// While standard error takes nothing.
  private var isWaiting = false
  private var watch: Watch?
  private(set) var deadline: Int?
  var scheduled: Int?

  /// A queue that is written to standard error.
  init() throws(SystemError) {
    output = try OctetStream.writing(to: STDERR_FILENO)
  }

  /// From here on the loop says when there is room again.
  func attach(_ loop: EventLoop, _ timers: Timers) {
    self.loop = loop
    self.timers = timers
    isWaiting = false
    drain()
  }

  /// Adds a line, or counts it as lost.
  func append(_ level: Logger.Level, _ text: String) {
    if isSystemLog { return StandardStreams.complain("starttlsd", text) }
    let line = LogLine.octets(level, text)
    // After a loss half of the queue is written first, so that losses come in few pieces, each with its count.
    guard lost == 0, line.withUnsafeBytes({ queue.append($0) }) else {
      lost += 1
      return
    }
    if !isWaiting { drain() }
  }

  /// Writes as much as standard error takes now.
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

  /// Adds the line about those that were lost; false when there is nothing to add.
  private func addLoss() -> Bool {
    guard lost > 0, queue.count <= LogQueue.capacity / 2 else { return false }
    let line = LogLine.octets(.warning, "\(lost) lines of this log were lost: its reader was too slow, or stopped")
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

  /// Before the process ends: gives the reader a moment to take the last lines.
  func finish() {
    let end = Clock.now() + LogQueue.retryMilliseconds
    drain()
    // Not where there is no reader at all.
    while !queue.isEmpty, deadline == nil, Clock.now() < end {
      var entry = pollfd(fd: output.number(), events: CShort(POLLOUT), revents: 0)
      _ = poll(&entry, 1, CInt(clamping: end - Clock.now()))
      drain()
    }
  }
}

extension LogQueue: EventOwner, TimerOwner {
  /// Standard error has room, or it is time to try again.
  func ready(now: Int) {
    drain()
  }
}

extension OctetStream {
  // Mutating in form only: a stored noncopyable value lends its parts to nothing else.
  fileprivate mutating func number() -> CInt { descriptor.number }
}
