// Daemon: one process, many sessions: accepts, turns, stops gracefully.
//
// SIGTERM or SIGINT: nothing more is accepted, sessions may end within the grace time, then they are cut off and what is
// left of the backends is ended. A second signal ends the grace time.

import CKernel
import Glibc
import Logging
import SMTPState
import Transport

final class Daemon {
  let configuration: Configuration
  let loop: EventLoop
  let timers = Timers()
  let log: Logger

  private var listeners: [ListenerOwner] = []
  private var sessions: [ObjectIdentifier: DaemonSession] = [:]
  private var processes: [ObjectIdentifier: BackendProcess] = [:]
  private var signals: SignalOwner?
  private var stopDeadline: Int?
  private let sessionsLimit: Int
  fileprivate var isListening = false
  private var hasWarnedOfKeywords = false

  /// Binds all addresses; nothing is accepted yet.
  init(_ configuration: Configuration, log: Logger) throws {
    self.configuration = configuration
    self.log = log
    sessionsLimit = try DescriptorLimit.raise(forSessions: configuration.connectionsLimit)
    loop = try EventLoop()
    for address in configuration.listeners {
      do {
        listeners.append(ListenerOwner(self, try Listener(address)))
      } catch {
        throw ConfigurationError.system("cannot listen on \(address): \(error); choose another with --listen")
      }
    }
    signals = try SignalOwner(self)
  }

  /// Runs until it is told to stop.
  func run() throws {
    if sessionsLimit < configuration.connectionsLimit {
      log.warning("the limit of descriptors allows \(sessionsLimit) sessions at a time: raise it (ulimit -Hn), or lower --max-connections")
    }
    for listener in listeners { log.info("listening on \(listener.address)") }
    listen(true)
    while !(stopDeadline != nil && sessions.isEmpty && processes.isEmpty) {
      try loop.wait(until: [timers.earliest, stopDeadline].compactMap { $0 }.min())
      let now = Clock.now()
      timers.expire(now: now)
      if let due = stopDeadline, due <= now { cutOff(now: now) }
    }
    log.info("stopped")
  }

  // MARK: Accepting

  private func listen(_ on: Bool) {
    guard on != isListening else { return }
    isListening = on
    for listener in listeners { listener.listen(on) }
  }

  /// A connection has come.
  ///
  /// - Returns: false if no session could be started for it, for want of descriptors or memory: the next ones had better wait.
  func accept(_ connection: consuming Connection, now: Int) -> Bool {
    let peer = connection.peer
    do {
      let session = try DaemonSession(self, connection, now: now)
      sessions[ObjectIdentifier(session)] = session
      if sessions.count >= sessionsLimit {
        log.warning("\(sessions.count) sessions: accepting no more until one ends (--max-connections)")
        listen(false)
      }
      session.ready(now: now)
      return true
    } catch {
      log.error("\(peer): the session cannot be started: \(error)")
      return false
    }
  }

  func finished(_ session: DaemonSession, _ record: SessionRecord, _ line: String) {
    guard sessions.removeValue(forKey: ObjectIdentifier(session)) != nil else { return }
    log.info("\(line)")
    if record.tookOutKeywords && !hasWarnedOfKeywords {
      hasWarnedOfKeywords = true
      log.warning(
        """
        the backend lists AUTH, STARTTLS, XCLIENT, XFORWARD or REQUIRETLS in clear. They are taken out of its replies, but \
        not behind a client's first MAIL: it has to refuse them in clear by itself
        """)
    }
    if stopDeadline == nil && sessions.count < sessionsLimit { listen(true) }
  }

  // MARK: Backends

  func started(_ process: BackendProcess) {
    processes[ObjectIdentifier(process)] = process
  }

  func ended(_ process: BackendProcess) {
    processes[ObjectIdentifier(process)] = nil
    if process.isEndedByUs { return }
    switch process.end {
    case .exited(0), nil: break
    case .exited(let code): log.notice("backend \(process.process) exited with code \(code)")
    case .signalled(let signal): log.warning("backend \(process.process) was ended by signal \(signal)")
    }
  }

  /// A socket whose server has ended already: a session over it says 421 4.3.2.
  static func endedServer() throws(SystemError) -> Descriptor {
    try DescriptorPair.sockets().takeFirst()
  }

  // MARK: Stopping

  /// A signal came.
  func stop(now: Int) {
    if stopDeadline == nil {
      log.info("stopping: \(sessions.count) sessions have \(configuration.graceMilliseconds / 1000) s to end")
      listen(false)
      for listener in listeners { listener.close() }
      listeners = []
      stopDeadline = now + configuration.graceMilliseconds
    } else {
      stopDeadline = now
    }
  }

  private func cutOff(now: Int) {
    for session in sessions.values { session.stop(now: now) }
    for process in processes.values { process.terminate(now: now) }
    stopDeadline = Int.max
  }
}

// MARK: - What else the loop waits for

/// A listening socket in the loop.
private final class ListenerOwner: EventOwner, TimerOwner {
  private unowned let daemon: Daemon
  private var listener: Listener?
  private var watch: Watch?
  let address: SocketAddress
  /// While no connection can be accepted for want of descriptors or memory.
  private(set) var deadline: Int?
  var scheduled: Int?

  init(_ daemon: Daemon, _ listener: consuming Listener) {
    self.daemon = daemon
    address = listener.address
    self.listener = consume listener
  }

  func listen(_ on: Bool) {
    let wanted = on && deadline == nil ? number.map { Watch(descriptor: $0, events: CShort(POLLIN)) } : nil
    do {
      try daemon.loop.update(watch, to: wanted, for: self)
      watch = wanted
    } catch {
      daemon.log.critical("\(address): \(error)")
    }
  }

  func close() {
    listener = nil
  }

  private var number: CInt? { listener?.pollNumber() }

  func ready(now: Int) {
    if let due = deadline {
      guard due <= now else { return }
      deadline = nil
      listen(daemon.isListening)
    }
    // Some at a time: sessions that are there come first.
    for _ in 0..<32 where watch != nil {
      switch listener?.take() ?? .wouldBlock {
      case .connection(let connection):
        if !daemon.accept(connection, now: now) { return pause(now: now) }
      case .wouldBlock: return
      case .vanished: continue
      case .failed(let error):
        daemon.log.error("\(address): \(error); trying again in a second")
        return pause(now: now)
      }
    }
  }

  /// Whoever comes waits in the kernel's queue for a second.
  private func pause(now: Int) {
    deadline = now + 1000
    listen(false)
    daemon.timers.schedule(self)
  }
}

extension Listener {
  // Mutating in form only: an Optional of a noncopyable value lends its payload to nothing else.
  fileprivate mutating func take() -> Accepted { accept() }
  fileprivate mutating func pollNumber() -> CInt { descriptor.number }
}

/// SIGTERM and SIGINT in the loop.
private final class SignalOwner: EventOwner {
  private unowned let daemon: Daemon
  private let descriptor: Descriptor

  init(_ daemon: Daemon) throws(SystemError) {
    self.daemon = daemon
    var mask = sigset_t()
    sigemptyset(&mask)
    sigaddset(&mask, SIGTERM)
    sigaddset(&mask, SIGINT)
    sigprocmask(SIG_BLOCK, &mask, nil)
    signal(SIGPIPE, SIG_IGN)
    // An inherited SIG_IGN would let the kernel reap the backends: their ends could not be learnt.
    signal(SIGCHLD, SIG_DFL)
    let number = signalfd(-1, &mask, KERNEL_SFD_CLOEXEC | KERNEL_SFD_NONBLOCK)
    guard number >= 0 else { throw SystemError.last("signalfd") }
    descriptor = Descriptor(adopting: number)
    try daemon.loop.update(nil, to: Watch(descriptor: number, events: CShort(POLLIN)), for: self)
  }

  func ready(now: Int) {
    var information = signalfd_siginfo()
    while read(descriptor.number, &information, MemoryLayout<signalfd_siginfo>.size) > 0 { daemon.stop(now: now) }
  }
}
