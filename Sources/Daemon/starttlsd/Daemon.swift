// Daemon: one process with many sessions: accepts connections, runs sessions, stops gracefully.
//
// SIGTERM or SIGINT: no more connections are accepted, and sessions may end within the grace time. After it, or on a
// second signal, clients between two commands get 421 4.3.2, the others are closed without a reply, and the remaining
// backends are ended. Clients get the 421 at the end of the grace time, not at its start: a client that has just
// connected can still deliver its mail.
//
// Parts: Admission and AddressAdmission (who is served), GreetingWait, ListenerOwner, Refusal, Signals, Reload, LogQueue, ResourceLimits.

import Glibc
import Logging
import SMTPState
import Transport
import TransportTLS

final class Daemon {
  let configuration: Configuration
  let loop: EventLoop
  let timers: Timers
  let log: Logger
  /// Reports to the service manager or, of a worker, to the supervisor.
  let notification: ServiceNotification
  /// The credentials for sessions that start TLS from now on.
  var credentials: TLSCredentials
  /// The file for the secrets of all sessions; nil for none.
  var keyLog: KeyLog?
  /// A reserve for a client that connects when no descriptor is left.
  var spare = SpareDescriptor()
  let acceptWarning: RepeatedWarning
  let tlsWarning: RepeatedWarning
  let frontWarning: RepeatedWarning
  /// nil if the server is a program.
  let backends: BackendHealth?

  var admission: Admission
  /// The access rules and the limits of one address.
  let addresses: AddressAdmission
  private(set) var isListening = false

  /// The process that holds the private keys; nil if this process does.
  let keys: KeyConnection?
  /// The process that reads the certificates' files.
  private(set) var certificates: CertificateWatch!
  /// The process that starts the server program; nil if this process does (--inetd), or if there is no program.
  private(set) var starter: StarterConnection?
  /// The process that connects to the servers; nil if this process does (--inetd), or if the server is a program.
  private(set) var connector: ConnectorConnection?
  private(set) var expiry: CertificateExpiry?
  private(set) var tickets: TicketRotation?
  /// nil without --learn-greeting.
  private(set) var learning: LearntGreetings?
  /// nil without --spare-backends.
  private(set) var spares: SpareBackends?

  private let queue: LogQueue
  private var helpers: [HelperConnection] = []
  /// Set if a process that this one cannot work without has ended.
  private var loss: String?
  var listeners: [ListenerOwner] = []
  var headers: [ObjectIdentifier: FrontHeader] = [:]
  var waits: [ObjectIdentifier: GreetingWait] = [:]
  var sessions: [ObjectIdentifier: DaemonSession] = [:]
  private(set) var processes: [ObjectIdentifier: BackendProcess] = [:]
  var refusals: [ObjectIdentifier: Refusal] = [:]
  private var signals: Signals?
  private var supervisorEnd: SupervisorEnd?
  let refusalWarning: RepeatedWarning
  private var status: ReportSocket?
  private var metricsSocket: ReportSocket?
  let metrics = Metrics()
  /// nil if no session is recorded.
  private(set) var recordings: Recordings?
  let startedAt = Clock.now()
  var totals = Totals()
  private var identifiers: SessionIdentifiers
  private var hasWarnedOfKeywords = false

  /// The phases of stopping.
  enum Stopping {
    case no
    /// Sessions may end by themselves.
    case grace(until: Int)
    /// Clients that got a 421 have time to read it.
    case closing(until: Int)
    /// All connections are closed. Until then the ends of the programs may be reported; nil after that.
    case cutOff(until: Int?)
  }
  var stopping = Stopping.no
  /// True if the daemon serves one connection, which a super-server passed, and then ends.
  var isSingle: Bool { configuration.passedDescriptors.client != nil }
  /// The time for a client to read its 421 and to close.
  static let closingMilliseconds = 3_000
  /// The time for the reports of the ends of programs, which have got SIGKILL by then.
  static let cutOffMilliseconds = 3_000

  /// Binds all addresses; no connection is accepted yet.
  init(
    _ configuration: Configuration, _ credentials: TLSCredentials, _ helpers: consuming Helpers, log: Logger, queue: LogQueue,
    notification: ServiceNotification
  ) throws {
    self.configuration = configuration
    self.notification = notification
    self.log = log
    self.queue = queue
    self.credentials = credentials
    loop = try EventLoop()
    timers = Timers()
    acceptWarning = RepeatedWarning(log, timers)
    tlsWarning = RepeatedWarning(log, timers)
    frontWarning = RepeatedWarning(log, timers)
    backends =
      if let servers = configuration.backend.servers { BackendHealth(servers.addresses, log, timers, metrics) } else { nil }
    refusalWarning = RepeatedWarning(log, timers)
    addresses = AddressAdmission(
      configuration.addressLimits, configuration.accessRules, isPart: (configuration.passedDescriptors.worker?.count ?? 1) > 1, log, timers, metrics)
    // Admits nobody until all descriptors that stay open are open.
    admission = Admission(.none)
    keys = helpers.keys
    identifiers = SessionIdentifiers(configuration.passedDescriptors.worker)
    for address in configuration.listeners {
      do {
        let listener = try address.listen()
        listeners.append(ListenerOwner(self, listener, isImplicit: address.isImplicit, file: SocketFile(of: address.address)))
      } catch {
        throw address.failure(error)
      }
    }
    for socket in configuration.passedDescriptors.sockets {
      let listener = try Listener(inherited: Descriptor(adopting: socket.number))
      listeners.append(
        ListenerOwner(self, listener, name: socket.name, isImplicit: socket.isImplicit, isShared: configuration.passedDescriptors.worker != nil))
    }
    let reader = try HelperConnection(self, "starttlsd-read, which reads the certificates,", helpers.reader)
    self.helpers = [reader]
    certificates = CertificateWatch(self, configuration.certificates, reader)
    try keys?.attach(self)
    if let process = helpers.starter {
      let connection = try HelperConnection(self, "starttlsd-start, which starts the server program,", process)
      self.helpers.append(connection)
      starter = StarterConnection(connection)
    }
    if let process = helpers.connector {
      let connection = try HelperConnection(self, "starttlsd-conn, which connects to the servers,", process)
      self.helpers.append(connection)
      connector = ConnectorConnection(connection, limit: 2 * configuration.connectionsLimit + 16)
    }
    if let settings = configuration.record, let process = helpers.recorder { recordings = try Recordings(self, settings, process) }
    learning = configuration.learning.map { LearntGreetings(self, $0) }
    spares = configuration.spares.map { SpareBackends(self, $0) }
    signals = try Signals(self)
    supervisorEnd = try configuration.passedDescriptors.worker.map { role throws(SystemError) in try SupervisorEnd(self, channel: role.channel) }
    if let path = configuration.statusSocket { status = try ReportSocket.status(self, path: path) }
    // Those of a worker are at the address of the supervisor, which asks for them.
    if let address = configuration.metrics, configuration.passedDescriptors.worker == nil { metricsSocket = try ReportSocket.metrics(self, address) }
    queue.attach(loop, timers)
    admission = Admission(try ResourceLimits(configuration))
  }

  /// Runs until a signal stops it.
  func run() throws {
    warnOfLimits()
    warnOfKeys()
    warnOfKeyProcess()
    warnOfRules()
    if let warning = configuration.warningOfPort { log.warning("\(warning)") }
    expiry = CertificateExpiry(self)
    expiry?.look(now: Clock.now())
    tickets = TicketRotation(self)
    if let trouble = notification.trouble { log.warning("\(trouble)") }
    if !isSingle {
      log.info("\(configuration.priorities.summary)")
      if let warning = configuration.priorities.warning { log.warning("\(warning)") }
      // Not for one client, whose process ends with it.
      let sandbox = try configuration.sandbox.enter(configuration)
      log.info("\(sandbox)")
    }
    for listener in listeners {
      let kind = listener.isImplicit ? " with TLS from the start" : ""
      log.info("\(listener.name.map { "socket \($0): " } ?? "")listening on \(listener.address)\(kind)")
    }
    if let client = configuration.passedDescriptors.client {
      accept(try PassedDescriptors.takeClient(client), isImplicit: configuration.isClientImplicit, now: Clock.now())
    }
    if let recordings, !isSingle { log.info("\(recordings.summary)") }
    if let metricsSocket { log.info("metrics at \(metricsSocket.bound)") }
    listen(true)
    spares?.begin(now: Clock.now())
    notification.ready(statusText, log, timers: timers, now: Clock.now())
    while !isStopped {
      try loop.wait(until: [timers.earliest, stopDeadline].compactMap { $0 }.min())
      let now = Clock.now()
      timers.expire(now: now)
      if let due = stopDeadline, due <= now { goOnStopping(now: now) }
    }
    closeReports()
    for warning in [acceptWarning, tlsWarning, frontWarning, refusalWarning] { warning.flush() }
    addresses.flush()
    backends?.flush()
    recordings?.finish()
    for helper in helpers { helper.finish() }
    keys?.finish()
    if !isSingle { log.info("stopped") }
    if let loss { throw ConfigurationError.system("\(loss): start starttlsd again") }
  }

  func closeReports() {
    status?.close()
    metricsSocket?.close()
  }

  /// A forked process has ended by itself. It cannot be replaced after the change of the user, so this process stops: the
  /// service manager starts all of them again. Sessions may end within the grace time.
  func lost(_ name: String, _ how: String) {
    let text = "\(name) \(how)"
    log.critical("\(text): stopping")
    loss = loss ?? text
    let now = Clock.now()
    if case .no = stopping { stop(now: now) }
    starter?.lostIfEnded(now: now)
    connector?.lostIfEnded(now: now)
  }

  /// One line for `notification`.
  var statusText: String {
    switch stopping {
    case .no: isSingle ? "Serving one connection" : "Listening on \(listeners.count) sockets"
    case .grace, .closing, .cutOff: "Stopping: \(sessions.count) sessions"
    }
  }

  private func warnOfLimits() {
    let limits = admission.limits
    if limits.sessionsInClear < configuration.connectionsLimit {
      log.warning(
        """
        the limit of descriptors allows \(limits.sessionsInClear) sessions at a time: raise it (ulimit -Hn), or lower \
        --max-connections
        """)
    } else if let wanted = configuration.backendsLimit, limits.backends < wanted {
      log.warning(
        "the limit of descriptors allows \(limits.backends) backends at a time: raise it (ulimit -Hn), or lower --max-backends")
    }
    if learning != nil, !admission.hasRoomForAnotherProcess {
      log.warning(
        """
        --learn-greeting has no effect: it needs 3 backends at a time, two for a session and one to learn from, but the limit of \
        this process is \(limits.backends): raise --max-backends, which is divided among the workers
        """)
    }
  }

  // MARK: Accepting

  func listen(_ on: Bool) {
    guard on != isListening else { return }
    isListening = on
    for listener in listeners { listener.listen(on) }
  }

  /// Continues or pauses accepting, as the limits require.
  func reconsider() {
    guard case .no = stopping else { return }
    listen(admission.answer != .wait)
  }

  /// A session has one more process reserved (1), or one less (-1).
  func reserve(_ number: Int) {
    admission.reserved += number
    reconsider()
  }

  /// Descriptors wait until a process of ours has room for them (1), or are sent (-1).
  func queued(_ number: Int) {
    admission.queued += number
    reconsider()
  }

  /// The identifier of a new session.
  func nextIdentifier() -> String { identifiers.next() }

  /// Logs the line of a session.
  func logSession(_ fields: [LogField]) { queue.append(.info, "session", fields) }

  func finished(_ session: DaemonSession, _ record: SessionRecord, _ fields: [LogField]) {
    guard sessions.removeValue(forKey: ObjectIdentifier(session)) != nil else { return }
    countSessions()
    addresses.sessionEnded(session.peer, now: Clock.now())
    totals.add(record)
    metrics.add(record, fields)
    if record.end == .earlyTalker { metrics.count(.earlyTalker) }
    logSession(fields)
    if record.tookOutKeywords && !hasWarnedOfKeywords {
      hasWarnedOfKeywords = true
      log.warning(
        """
        the backend lists AUTH, STARTTLS, XCLIENT, XFORWARD or REQUIRETLS in clear. They are taken out of its replies, but \
        not after a client's first MAIL: the backend itself must refuse them in clear
        """)
    }
    reconsider()
  }

  // MARK: Backends

  func started(_ process: BackendProcess) {
    processes[ObjectIdentifier(process)] = process
    admission.backends = processes.count
  }

  func ended(_ process: BackendProcess) {
    processes[ObjectIdentifier(process)] = nil
    admission.backends = processes.count
    defer { reconsider() }
    if process.isSpare { return spares?.ended(process, now: Clock.now()) ?? () }
    if process.startFailure != nil { metrics.count(.start) }
    if process.isEndedByUs { return }
    switch process.end {
    case .exited(0), nil: break
    case .exited(let code):
      metrics.count(.exit)
      log.notice("backend \(process.process) exited with code \(code), session \(process.session)")
    case .signalled(let signal):
      metrics.count(.signal)
      log.warning("backend \(process.process) was ended by signal \(signal), session \(process.session)")
    }
  }

  // MARK: Status

  var runningSessions: some Collection<DaemonSession> { sessions.values }
  /// Those whose clients begin with TLS, or the others.
  func listeningAddresses(isImplicit: Bool) -> [String] {
    listeners.filter { $0.isImplicit == isImplicit }.map { "\($0.address)" }
  }
  var isStopping: Bool {
    if case .no = stopping { return false }
    return true
  }
}
