// ServiceNotification: tells the supervisor when the daemon is ready, reloads, stops, and that its loop runs.
//
//   NOTIFY_SOCKET        datagrams as in sd_notify(3): READY=1, RELOADING=1, STOPPING=1, STATUS=, WATCHDOG=1
//   WATCHDOG_USEC        WATCHDOG=1 twice in that time, sent by the event loop: a loop that hangs sends none
//   --notification-fd    one newline when ready, then it is closed, as s6 expects
//
// Contract: no call waits. A datagram that the supervisor cannot take now is sent again after a moment; at most eight
// wait, and the oldest is dropped first. The variables are removed: a program that is started must not answer for us.
//
// Failure: without a supervisor every call does nothing. A socket that cannot be reached is one warning at the start.

import Glibc
import Logging
import ProgramSupport
import Transport

final class ServiceNotification: TimerOwner {
  private static let retryMilliseconds = 50
  private static let pendingLimit = 8

  private var socket: Descriptor?
  private var readiness: Descriptor?
  private weak var timers: Timers?
  private var pending: [String] = []
  /// Half of the supervisor's watchdog time.
  private var watchdogMilliseconds: Int?
  private var nextWatchdog: Int?
  private var nextAttempt: Int?
  var scheduled: Int?
  /// Why the supervisor cannot be reached.
  private(set) var trouble: String?

  var deadline: Int? { [nextWatchdog, nextAttempt].compactMap { $0 }.min() }

  /// Takes over the variables and the descriptor. Call it before anything else is opened.
  init(_ options: SupervisorOptions, _ supervision: Supervision) throws(ConfigurationError) {
    let path = EmbeddedDefault.variable("NOTIFY_SOCKET")
    let isWatched = EmbeddedDefault.variable("WATCHDOG_PID").map { $0 == "\(getpid())" } ?? true
    let interval = isWatched ? EmbeddedDefault.variable("WATCHDOG_USEC").flatMap { Int($0) } : nil
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] { unsetenv(name) }
    if let number = options.notificationDescriptor {
      // 1 is what s6 documents as the usual choice beside 3.
      guard number > 0, number != STDERR_FILENO, !supervision.uses(number), (try? Kernel.control(number, F_GETFD)) != nil else {
        throw .usage("--notification-fd \(number): it is not open, or it is in use: write its number into the file notification-fd")
      }
      do throws(SystemError) {
        readiness = Descriptor(adopting: try Kernel.duplicate(number, above: 3))
        if number == STDOUT_FILENO {
          let null = Descriptor(adopting: try Kernel.open("/dev/null", O_RDWR))
          if dup2(null.number, number) < 0 { throw SystemError.last("dup2") }
        } else {
          Kernel.close(number)
        }
      } catch {
        throw .system("--notification-fd \(number): \(error)")
      }
    }
    guard let path, path.hasPrefix("/") || path.hasPrefix("@") else { return }
    do throws(SystemError) {
      let made = try DatagramSocket.create()
      try DatagramSocket.connect(made, to: path)
      socket = consume made
      if let interval, interval > 0 { watchdogMilliseconds = max(1, interval / 2000) }
    } catch {
      trouble = "the supervisor's NOTIFY_SOCKET \(path) cannot be used: \(error): it is not informed when starttlsd is ready"
    }
  }

  /// All sockets listen.
  func ready(_ status: String, timers: Timers, now: Int) {
    self.timers = timers
    send("READY=1\nSTATUS=\(status)")
    if let watchdogMilliseconds {
      nextWatchdog = now + watchdogMilliseconds
      timers.schedule(self)
    }
    if let number = readiness?.pollNumber() {
      var newline = UInt8(ascii: "\n")
      _ = withUnsafeBytes(of: &newline) { try? Kernel.write(number, $0) }
    }
    readiness = nil
  }

  /// The configuration is loaded again. Call `reloaded` after it, however it ended.
  func reloading() {
    send("RELOADING=1\nMONOTONIC_USEC=\(ServiceNotification.monotonicMicroseconds)")
  }

  func reloaded(_ status: String) {
    send("READY=1\nSTATUS=\(status)")
  }

  /// The daemon stops.
  func stopping(_ status: String) {
    send("STOPPING=1\nSTATUS=\(status)")
  }

  func ready(now: Int) {
    if let due = nextWatchdog, due <= now {
      nextWatchdog = watchdogMilliseconds.map { now + $0 }
      send("WATCHDOG=1")
    }
    if let due = nextAttempt, due <= now { flush() }
  }

  private func send(_ text: String) {
    guard socket != nil else { return }
    if pending.count == ServiceNotification.pendingLimit { pending.removeFirst() }
    pending.append(text)
    flush()
  }

  private func flush() {
    nextAttempt = nil
    while let text = pending.first {
      do throws(SystemError) {
        try socket?.sendDatagram(text)
      } catch {
        if error.code == EAGAIN || error.code == ENOBUFS {
          nextAttempt = Clock.now() + ServiceNotification.retryMilliseconds
          timers?.schedule(self)
          return
        }
        // The supervisor is gone: nobody waits for the text.
      }
      pending.removeFirst()
    }
  }

  /// The time that a supervisor compares with its own, see sd_notify(3).
  private static var monotonicMicroseconds: Int {
    var time = timespec()
    _ = clock_gettime(CLOCK_MONOTONIC, &time)
    return Int(time.tv_sec) * 1_000_000 + Int(time.tv_nsec) / 1000
  }
}

extension Descriptor {
  // Mutating only because an Optional of a noncopyable value gives access to its payload in no other way.

  fileprivate mutating func pollNumber() -> CInt { number }

  fileprivate mutating func sendDatagram(_ text: String) throws(SystemError) {
    try DatagramSocket.send(Array(text.utf8), to: self)
  }
}
