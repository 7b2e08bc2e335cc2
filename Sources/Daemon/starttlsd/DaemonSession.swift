// DaemonSession: one client of the daemon: a driver, its backend processes, its TLS stream.

import Glibc
import Logging
import SMTPState
import Transport
import TransportTLS

final class DaemonSession: EventOwner, TimerOwner, SessionHost {
  private unowned let daemon: Daemon
  /// nil once it was finished: a timer may remember this object for minutes.
  private var driver: Driver!
  private var backend: BackendProcess?
  /// Built before the 220, so that nothing can fail behind it.
  private var prepared: GnuTLSStream?
  private var failure: String?
  /// What is registered with the loop.
  private var registered = Watches()

  let peer: SocketAddress
  private let local: SocketAddress?
  var scheduled: Int?

  /// Starts a session over an accepted connection. Without a backend the client hears 421 4.3.2.
  init(_ daemon: Daemon, _ connection: consuming Connection, now: Int) throws(SystemError) {
    self.daemon = daemon
    peer = connection.peer.unmapped
    local = (try? connection.descriptor.localAddress())??.unmapped
    let client = try ClearClient(socket: connection.takeDescriptor())
    let server: Descriptor
    switch startBackend(tls: nil) {
    case .started(let socket): server = socket
    case .failed(let why):
      failure = why
      server = try Daemon.endedServer()
    case .pending: server = try Daemon.endedServer()
    }
    driver = Driver(
      policy: daemon.configuration.policy, timeouts: daemon.configuration.timeouts, client: client, server: server,
      host: self, now: now)
  }

  var deadline: Int? { driver?.deadline }

  func ready(now: Int) {
    // An event of the same batch may come behind the end.
    guard let driver else { return }
    driver.turn(now: now)
    guard !driver.isFinished else { return finish(now: now) }
    register()
    daemon.timers.schedule(self)
  }

  /// Cuts the session off.
  func stop(now: Int) {
    guard let driver else { return }
    driver.stop()
    finish(now: now)
  }

  private func register() {
    let wanted = driver.watches
    do {
      try daemon.loop.update(registered.client, to: wanted.client, for: self)
      registered.client = wanted.client
      try daemon.loop.update(registered.server, to: wanted.server, for: self)
      registered.server = wanted.server
    } catch {
      failure = "\(error)"
      stop(now: Clock.now())
    }
  }

  private func finish(now: Int) {
    if let number = registered.client?.descriptor { daemon.loop.forget(number) }
    if let number = registered.server?.descriptor { daemon.loop.forget(number) }
    registered = Watches()
    prepared = nil
    releaseBackend()
    let record = driver.record
    driver = nil
    daemon.finished(self, record, SessionLine.text(peer: peer, local: local, record: record, failure: failure))
  }

  private func releaseBackend() {
    backend?.release(now: Clock.now())
    backend = nil
  }

  /// Starts the backend, with what was negotiated in its environment.
  private func startBackend(tls: TLSFacts?) -> ServerStart {
    switch daemon.configuration.backend {
    case .program(let arguments, let inherited):
      var environment = inherited + Environment.connection(peer: peer, local: local)
      if let tls { environment += Environment.tls(tls) }
      do {
        let pair = try DescriptorPair.sockets()
        let process = try BackendProcess(daemon, arguments, environment: environment, standardStreams: pair.second)
        backend = process
        daemon.started(process)
        return .started(pair.takeFirst())
      } catch {
        return .failed("the backend cannot be started: \(error)")
      }
    }
  }

  // MARK: SessionHost

  func isTLSAvailable() -> Bool {
    if prepared != nil { return true }
    do {
      prepared = try GnuTLSStream(daemon.configuration.credentials)
      return true
    } catch {
      warn("TLS is not available: \(error)")
      return false
    }
  }

  func handoff(_ proof: Handoff, _ client: consuming ClearClient) -> any TLSStream {
    // The look before the 220 has built it.
    guard let stream = prepared.take(), let socket = client.takeSocket() else { return NoStream() }
    stream.attach(socket)
    return stream
  }

  func abort(_ proof: Reason) {
    prepared = nil
  }

  func endServer() {
    // Its socket is closed, and with it its registration.
    if let number = registered.server?.descriptor { daemon.loop.forget(number) }
    registered.server = nil
    backend?.replace(now: Clock.now())
    backend = nil
  }

  func restart(_ facts: TLSFacts) -> ServerStart {
    startBackend(tls: facts)
  }

  func warn(_ text: String) {
    daemon.log.warning("\(SessionLine.peer(peer)): \(text)")
  }
}
