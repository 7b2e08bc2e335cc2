// DaemonSession: one client of the daemon, with its driver, its backend processes and its TLS stream.

import Glibc
import Logging
import SMTPState
import Transport
import TransportTLS

final class DaemonSession: EventOwner, TimerOwner, SessionHost {
  unowned let daemon: Daemon
  /// nil after it has finished: a timer may still refer to this object for minutes.
  private(set) var driver: SessionDriver!
  private var backend: BackendProcess?
  /// The numbers of the spare processes that it has taken (--spare-backends).
  private var spareProcesses: [CInt] = []
  /// The connection to a server that is being made.
  private var connecting: BackendConnection?
  /// Created before the 220, so that nothing can fail after it.
  private var prepared: GnuTLSStream?
  private var failure: String?
  /// The TLS engine after the handoff, for the alert in the log.
  private var engine: GnuTLSStream?
  /// How many processes are reserved: one for the time after the handshake, and one if the first is not started yet.
  private(set) var reserved = 0
  /// What was learnt of the program and sent to the client; nil if the program was started at once.
  private(set) var learnt: LearntReplies?
  /// True while it is in the program's place.
  var isProgramUnstarted = false
  /// nil if the session is not recorded.
  private var recording: SessionRecording?
  /// The watches that are registered with the event loop.
  private var registered = RegisteredWatches()

  /// The session's identifier in the log.
  let identifier: String
  let peer: SocketAddress
  /// For the program, from the client's access rule.
  private let variables: [String]
  /// The penalty points that the client's address has got for this session.
  private var penalty = 0
  let local: SocketAddress?
  /// True if the client is a front, see `Connection.isFrontsOwn`.
  private let isFrontsOwn: Bool
  var scheduled: Int?

  /// Creates a session for an accepted connection. Nothing is started.
  init(_ daemon: Daemon, _ connection: borrowing Connection, variables: [String]) {
    self.daemon = daemon
    self.variables = variables
    identifier = daemon.nextIdentifier()
    peer = connection.peer.ofClient
    local = (connection.local ?? (try? connection.descriptor.localAddress()) ?? nil)?.unmapped
    isFrontsOwn = connection.isFrontsOwn
  }

  /// Starts the session and its first backend. If that cannot be started, the client gets 421 4.3.2.
  func begin(_ connection: consuming Connection, now: Int) throws(SystemError) {
    let client = PlaintextClient(accepted: connection.takeDescriptor())
    recording = daemon.recordings?.begin(identifier, peer: peer, isImplicit: false, now: now)
    if let replies = learntReplies(now: now) {
      learnt = replies
      isProgramUnstarted = true
      driver = SessionDriver(
        policy: daemon.configuration.policy, timeouts: daemon.configuration.timeouts, client: client, learnt: replies, host: self,
        observer: recording?.recorder, now: now)
    } else {
      driver = SessionDriver(
        policy: daemon.configuration.policy, timeouts: daemon.configuration.timeouts, client: client,
        server: startBackend(tls: nil), host: self, observer: recording?.recorder, now: now)
    }
    if isFrontsOwn { driver.serveHealthCheck() }
    reserve(isProgramUnstarted ? 2 : 1)
  }

  /// Starts a session that begins with TLS. No backend is started before the handshake is complete, and before the wait for
  /// the greeting is over.
  ///
  /// - Returns: false if TLS is not available; the connection is closed then.
  func beginSecured(_ connection: consuming Connection, now: Int) -> Bool {
    guard isTLSAvailable(), let stream = prepared.take() else { return false }
    stream.attach(connection.takeDescriptor())
    daemon.addresses.handshakeStarted(peer, now: now)
    engine = stream
    recording = daemon.recordings?.begin(identifier, peer: peer, isImplicit: true, now: now)
    driver = SessionDriver(
      policy: daemon.configuration.policy, timeouts: daemon.configuration.timeouts, secured: stream,
      greetingWaitMilliseconds: daemon.addresses.isExempt(peer) ? 0 : daemon.configuration.greetingWaitMilliseconds, host: self, now: now)
    reserve(1)
    return true
  }

  var deadline: Int? { driver?.deadline }

  /// For the status.
  func summary(now: Int) -> StatusReport.Session {
    StatusReport.Session(
      identifier: identifier, peer: SessionLine.peer(peer), stage: driver?.stage ?? .closing,
      ageSeconds: (now - (driver?.record.startedAt ?? now)) / 1000)
  }

  /// A turn after a start: what has arrived already is reported at once.
  func start(now: Int) {
    driver?.turn(now: now, client: false, server: false)
    turned(now: now)
  }

  func ready(now: Int) {
    driver?.turn(now: now)
    turned(now: now)
  }

  func reported(now: Int) {
    let events = registered.takeEvents(daemon.loop)
    driver?.turn(now: now, client: events.client, server: events.server)
    turned(now: now)
  }

  /// After a turn of the driver.
  private func turned(now: Int) {
    // An event of the same batch may arrive after the end.
    guard let driver else { return }
    penalise(driver.record, now: now)
    if recording != nil { daemon.recordings?.grew(&recording!, now: now) }
    guard !driver.isFinished else { return finish(now: now) }
    do {
      try registered.update(for: driver, daemon.loop, self)
      daemon.timers.schedule(self)
    } catch {
      giveUp(error)
    }
  }

  /// Its descriptors cannot be waited for (ENOSPC: max_user_watches of epoll(7)). The client gets what the kernel takes at once.
  private func giveUp(_ error: SystemError) {
    let now = Clock.now()
    failure = "\(error)"
    driver.shutDown(now: now, ServiceReply.serverUnavailable)
    if driver.isClosing { driver.turn(now: now) }
    stop(now: now)
  }

  /// Gives the client's address the points that are new.
  private func penalise(_ record: SessionRecord, now: Int) {
    let points = record.penalty
    daemon.addresses.penalise(peer, points: points - penalty, now: now)
    penalty = points
  }

  /// It could not begin: its backend has nothing more to do.
  func abandon() {
    releaseBackend()
  }

  /// The program stops: sends 421 4.3.2 if a reply is allowed, otherwise closes the session.
  func shutDown(now: Int) {
    guard let driver else { return }
    driver.shutDown(now: now)
    if driver.isClosing { ready(now: now) } else { stop(now: now) }
  }

  /// Closes the session at once.
  func stop(now: Int) {
    guard let driver else { return }
    driver.stop()
    finish(now: now)
  }

  /// So many more backends may have to be started for this session.
  func reserve(_ number: Int) {
    guard number != reserved else { return }
    let difference = number - reserved
    reserved = number
    daemon.reserve(difference)
  }

  var hasVariables: Bool { !variables.isEmpty }

  private func finish(now: Int) {
    reserve(0)
    countSavedStart()
    registered.forget(daemon.loop)
    prepared = nil
    connecting?.cancel(now: now)
    failure = failure ?? connecting?.failureOfLast
    connecting = nil
    // A program that was not started has sent nothing. The reason may have arrived together with its end.
    if !driver.hasServerSpoken { daemon.starter?.receive(now: now) }
    failure = failure ?? backend?.startFailure
    releaseBackend()
    let record = driver.record
    driver = nil
    if let recording { daemon.recordings?.finish(recording, record, failure: failure, now: now) }
    recording = nil
    var fields = SessionLine.fields(
      peer: SessionLine.peer(peer), local: local.map(SessionLine.peer), session: identifier, record: record,
      failure: failure)
    if isFrontsOwn { fields.append(LogField("proxy", .word("local"))) }
    if let alert = engine?.alert {
      fields += [
        LogField("alert", .number(alert.number)), LogField("alert-name", .text(alert.name)),
        LogField("alert-from", .word(alert.isSent ? "server" : "client")),
      ]
    }
    engine = nil
    if !spareProcesses.isEmpty { fields.append(LogField("spare", .word(spareProcesses.map { "\($0)" }.joined(separator: ",")))) }
    daemon.finished(self, record, fields)
  }

  private func releaseBackend() {
    backend?.release(now: Clock.now())
    backend = nil
  }

  /// Starts the backend, with the negotiated parameters in its environment.
  func startBackend(tls: TLSFacts?) -> ServerStart {
    switch daemon.configuration.backend {
    case .program:
      if let socket = daemon.spares?.take(for: peer, session: identifier, &backend, now: Clock.now()) {
        if let backend, backend.number > 0 { spareProcesses.append(backend.number) }
        return .started(socket)
      }
      let variables = self.variables + daemon.configuration.sessionVariables(peer: peer, local: local, identifier, tls: tls)
      do {
        return .started(try daemon.startProgram(variables, for: peer, session: identifier, &backend))
      } catch {
        daemon.metrics.count(.start)
        return .failed("the backend cannot be started: \(error)")
      }
    case .servers(let servers):
      guard let health = daemon.backends, let header = servers.header(from: peer, to: local, tls: tls, identifier: identifier) else {
        return .failed("the client has no IP address, which --backend-client \(servers.client.rawValue) needs")
      }
      let now = Clock.now()
      let connection = BackendConnection(
        daemon, health, servers, header: header, peer: peer, greetingMilliseconds: daemon.configuration.policy.greetingTimeoutMilliseconds, now: now)
      let start = connection.begin(now: now) { [unowned self] start, now in
        self.connecting = nil
        self.driver?.serverStarted(start)
        self.start(now: now)
      }
      if connection.isPending { connecting = connection }
      return start
    }
  }

  // MARK: SessionHost

  func isTLSAvailable() -> Bool {
    guard daemon.keys?.isAvailable != false else {
      daemon.tlsWarning.note("\(SessionLine.peer(peer)): TLS is not available: starttlsd-key does not answer", now: Clock.now())
      return false
    }
    if prepared != nil { return true }
    do {
      prepared = try GnuTLSStream(daemon.credentials, daemon.configuration.priorities)
      prepared?.keyLog = daemon.keyLog
      return true
    } catch {
      daemon.tlsWarning.note("\(SessionLine.peer(peer)): TLS is not available: \(error)", now: Clock.now())
      return false
    }
  }

  func handoff(_ proof: SMTPSession.Handoff, _ client: consuming PlaintextClient) -> any TLSStream {
    // `isTLSAvailable`, which is called before the 220, has created it.
    guard let stream = prepared.take(), let socket = client.takeSocket() else { return FailingTLSStream() }
    stream.attach(socket)
    daemon.addresses.handshakeStarted(peer, now: Clock.now())
    engine = stream
    return stream
  }

  func abort(_ proof: SMTPSession.Reason) {
    prepared = nil
    // The program may not have been started yet.
    reserve(isProgramUnstarted ? 1 : 0)
  }

  func endServer() {
    registered.forgetServer(daemon.loop)
    countSavedStart()
    // A program that was not started by now is not needed; one more may be, after the handshake.
    reserve(min(reserved, 1))
    backend?.replace(now: Clock.now())
    backend = nil
  }

  func restart(_ facts: TLSFacts) -> ServerStart {
    reserve(0)
    return startBackend(tls: facts)
  }
}
