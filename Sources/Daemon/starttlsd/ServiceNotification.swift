// ServiceNotification: reports to the service manager, or from a worker to its supervisor, when the process is ready, reloads and
// stops, and that its loop runs.
//
//   NOTIFY_SOCKET        datagrams as in sd_notify(3): READY=1, RELOADING=1, STOPPING=1, STATUS=, WATCHDOG=1
//   WATCHDOG_USEC        WATCHDOG=1 twice in that time, sent by the event loop: a loop that hangs sends none
//   --notification-fd    one newline when ready, then it is closed, as s6 expects
//   a worker's channel   the same datagrams, to the supervisor that --workers starts
//
// Contract: no call waits. A datagram that the receiver cannot take now is sent again after a moment. Of each kind one
// waits: the last RELOADING, the last READY or STOPPING, and one WATCHDOG. So the last state always arrives. READY follows
// RELOADING after a few seconds at the latest, whatever the process that reads the certificates does. The variables are
// removed: a program that is started must not answer for us.
//
// Failure: without a receiver nothing is sent. A socket that cannot be reached is one warning at the start.

import Glibc
import Logging
import ProgramSupport
import Transport

final class ServiceNotification: TimerOwner {
  private static let retryMilliseconds = 50
  /// The files of the certificates are on a disk: they are read in a moment, or their file system hangs.
  private static let reloadMilliseconds = 5_000

  private var socket: Descriptor?
  private var readiness: Descriptor?
  private weak var timers: Timers?
  private var pending = Pending()
  /// Half of the watchdog time.
  private var watchdogMilliseconds: Int?
  private var nextWatchdog: Int?
  private var nextAttempt: Int?
  /// When a reload that has not ended is reported as ended; nil if none runs.
  private var reloadEnd: Int?
  private var status = ""
  private var log: Logger?
  private var isStopping = false
  /// For the operator, if a reload takes long.
  var slowReload = """
    the files of the certificates are not read after \(ServiceNotification.reloadMilliseconds / 1000) s; until they are, the certificates stay as they \
    were: check the file system
    """
  /// True if the supervisor is starttlsd itself.
  private var isOfWorker = false
  var scheduled: Int?
  /// Why the receiver cannot be reached.
  private(set) var trouble: String?

  /// What waits for the receiver. RELOADING is sent before the state that follows it.
  private struct Pending {
    var reloading: String?
    var state: String?
    var isWatchdogDue = false

    /// The next datagram.
    var first: String? { reloading ?? state ?? (isWatchdogDue ? "WATCHDOG=1" : nil) }

    mutating func removeFirst() {
      if reloading != nil { reloading = nil } else if state != nil { state = nil } else { isWatchdogDue = false }
    }
  }

  var deadline: Int? { [nextWatchdog, nextAttempt, reloadEnd].compactMap { $0 }.min() }

  /// Takes over the variables and the descriptor. Call it before anything else is opened.
  init(_ options: ServiceManagerOptions, _ passedDescriptors: PassedDescriptors) throws(ConfigurationError) {
    let path = EmbeddedDefault.variable("NOTIFY_SOCKET")
    let isWatched = EmbeddedDefault.variable("WATCHDOG_PID").map { $0 == "\(getpid())" } ?? true
    let interval = isWatched ? EmbeddedDefault.variable("WATCHDOG_USEC").flatMap { Int($0) } : nil
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] { unsetenv(name) }
    if let worker = passedDescriptors.worker {
      socket = Descriptor(adopting: worker.channel)
      isOfWorker = true
      if let interval, interval > 0 { watchdogMilliseconds = max(1, interval / 2000) }
      return
    }
    if let number = options.notificationDescriptor {
      // 1 is what s6 documents as the usual choice beside 3.
      guard number > 0, number != STDERR_FILENO, !passedDescriptors.uses(number), (try? Kernel.control(number, F_GETFD)) != nil else {
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
      trouble = "the service manager's NOTIFY_SOCKET \(path) cannot be used: \(error): it is not informed when starttlsd is ready"
    }
  }

  /// All sockets listen.
  func ready(_ status: String, _ log: Logger, timers: Timers, now: Int) {
    self.timers = timers
    self.log = log
    send(state: "READY=1\nSTATUS=\(status)" + (isOfWorker ? "\n\(SupervisorState.offer)" : ""))
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
  func reloading(_ status: String, now: Int) {
    guard !isStopping else { return }
    self.status = status
    reloadEnd = now + ServiceNotification.reloadMilliseconds
    timers?.schedule(self)
    // A READY that waits belongs to an earlier reload, and would end this one too early.
    pending.state = nil
    pending.reloading = "RELOADING=1\nMONOTONIC_USEC=\(ServiceNotification.monotonicMicroseconds)"
    flush()
  }

  func reloaded(_ status: String) {
    reloadEnd = nil
    guard !isStopping else { return }
    send(state: "READY=1\nSTATUS=\(status)")
  }

  /// The daemon stops.
  func stopping(_ status: String) {
    isStopping = true
    reloadEnd = nil
    send(state: "STOPPING=1\nSTATUS=\(status)")
  }

  func ready(now: Int) {
    if let due = reloadEnd, due <= now {
      log?.warning("SIGHUP: \(slowReload)")
      reloaded(status)
    }
    if let due = nextWatchdog, due <= now {
      nextWatchdog = watchdogMilliseconds.map { now + $0 }
      pending.isWatchdogDue = true
      flush()
    }
    if let due = nextAttempt, due <= now { flush() }
  }

  private func send(state: String) {
    pending.state = state
    flush()
  }

  private func flush() {
    nextAttempt = nil
    guard socket != nil else {
      pending = Pending()
      return
    }
    while let text = pending.first {
      do throws(SystemError) {
        try socket?.sendDatagram(text)
      } catch {
        if error.code == EAGAIN || error.code == ENOBUFS {
          nextAttempt = Clock.now() + ServiceNotification.retryMilliseconds
          timers?.schedule(self)
          return
        }
        // The receiver is gone: nobody waits for the text.
      }
      pending.removeFirst()
    }
  }

  /// The time that a service manager compares with its own, see sd_notify(3).
  private static var monotonicMicroseconds: Int {
    var time = timespec()
    _ = clock_gettime(CLOCK_MONOTONIC, &time)
    return Int(time.tv_sec) * 1_000_000 + Int(time.tv_nsec) / 1000
  }
}

extension Descriptor {
  // Mutating only because an Optional of a noncopyable value gives access to its payload in no other way.

  fileprivate mutating func sendDatagram(_ text: String) throws(SystemError) {
    try DatagramSocket.send(Array(text.utf8), to: self)
  }
}
