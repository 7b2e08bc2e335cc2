// StatusSocket: the Unix socket at which `starttlsd status` asks.
//
// A client sends a line, `text` or `json`, and gets one report. Only the user that created the socket may connect: its
// mode is 0600.
//
// Contract: nothing waits. A report is made in one turn, has a limited size (StatusReport), and is written as far as the
// client reads. A client has five seconds; two are served at the same time, the others wait in the kernel's queue.

import Glibc
import Logging
import Transport
import TransportTLS

final class StatusSocket: EventOwner {
  /// The maximum number of clients at a time: each has a descriptor.
  static let clientsLimit = 2

  private unowned let daemon: Daemon
  private let path: String
  private var listener: Listener?
  private var watch: Watch?
  private var clients: [ObjectIdentifier: StatusClient] = [:]

  /// Creates the socket. A socket that a daemon left when it was killed is replaced.
  init(_ daemon: Daemon, path: String) throws(ConfigurationError) {
    self.daemon = daemon
    self.path = path
    do throws(SystemError) {
      try StatusSocket.removeStale(path)
      // The mode has to be right from the start: bind creates the file.
      let mask = umask(0o177)
      defer { umask(mask) }
      listener = try Listener(.unix(path), backlog: 8)
      // The user that starttlsd changes to may ask as well.
      if let own = daemon.configuration.privileges.own, chown(path, own.user, own.group) != 0 { throw SystemError.last("chown") }
    } catch {
      throw .system("--status-socket \(path): \(error)")
    }
    listen()
  }

  /// Removes a socket at which nobody listens.
  private static func removeStale(_ path: String) throws(SystemError) {
    var status = stat()
    guard lstat(path, &status) == 0 else { return }
    guard status.st_mode & S_IFMT == S_IFSOCK else { throw SystemError("bind", EEXIST) }
    do throws(SystemError) {
      _ = try SocketAddress.unix(path).connect()
    } catch {
      if error.code == ECONNREFUSED { return try Kernel.unlink(path) }
      throw error
    }
    throw SystemError("bind", EADDRINUSE)
  }

  func ready(now: Int) {
    while clients.count < StatusSocket.clientsLimit {
      guard case .connection(let connection) = listener?.take() ?? .wouldBlock else { break }
      let client = StatusClient(daemon, self, connection)
      clients[ObjectIdentifier(client)] = client
      client.begin(now: now)
    }
    listen()
  }

  func finished(_ client: StatusClient) {
    clients[ObjectIdentifier(client)] = nil
    listen()
  }

  /// Waits for clients if another may be served.
  private func listen() {
    let number = clients.count < StatusSocket.clientsLimit ? listener?.pollNumber() : nil
    let wanted = number.map { Watch(descriptor: $0, events: CShort(POLLIN)) }
    do {
      try daemon.loop.update(watch, to: wanted, for: self)
      watch = wanted
    } catch {
      daemon.log.error("status: \(error)")
    }
  }

  /// The daemon ends.
  func close() {
    for client in clients.values { client.finish() }
    if let watch { daemon.loop.remove(watch.descriptor) }
    watch = nil
    guard listener != nil else { return }
    listener = nil
    unlink(path)
  }
}

/// One client of the status socket.
final class StatusClient: EventOwner, TimerOwner {
  private static let milliseconds = 5_000
  /// `text` or `json` and a line end.
  private static let requestLimit = 16

  private unowned let daemon: Daemon
  private unowned let owner: StatusSocket
  private var socket: Descriptor?
  private var watch: Watch?
  private var request: [UInt8] = []
  private var report: ArraySlice<UInt8>?
  private(set) var deadline: Int?
  var scheduled: Int?

  init(_ daemon: Daemon, _ owner: StatusSocket, _ connection: consuming Connection) {
    self.daemon = daemon
    self.owner = owner
    socket = connection.takeDescriptor()
  }

  func begin(now: Int) {
    deadline = now + StatusClient.milliseconds
    daemon.timers.schedule(self)
    wait(for: CShort(POLLIN))
  }

  func ready(now: Int) {
    guard let due = deadline else { return }
    if due <= now { return finish() }
    if report == nil { read() }
    if report != nil { write() }
  }

  private func read() {
    var buffer = [UInt8](repeating: 0, count: StatusClient.requestLimit)
    let answer = buffer.withUnsafeMutableBytes { socket?.receiveNow(into: $0) ?? .ended }
    switch answer {
    case .moved(let count): request += buffer[..<count]
    case .wouldBlock: return
    case .ended, .failed: return finish()
    }
    guard request.contains(UInt8(ascii: "\n")) || request.count >= StatusClient.requestLimit else { return }
    let made = daemon.statusReport
    report = Array((request.starts(with: "json".utf8) ? made.json : made.text).utf8)[...]
    wait(for: CShort(POLLOUT))
  }

  private func write() {
    while let rest = report, !rest.isEmpty {
      switch rest.withUnsafeBytes({ socket?.sendNow($0) ?? .ended }) {
      case .moved(let count): report = rest.dropFirst(count)
      case .wouldBlock: return
      case .ended, .failed: return finish()
      }
    }
    finish()
  }

  private func wait(for events: CShort) {
    guard let number = socket?.pollNumber() else { return }
    let wanted = Watch(descriptor: number, events: events)
    do {
      try daemon.loop.update(watch, to: wanted, for: self)
      watch = wanted
    } catch {
      finish()
    }
  }

  func finish() {
    guard socket != nil else { return }
    if let watch { daemon.loop.forget(watch.descriptor) }
    watch = nil
    socket = nil
    deadline = nil
    owner.finished(self)
  }
}

extension Daemon {
  /// The state now.
  var statusReport: StatusReport {
    let now = Clock.now()
    return StatusReport(
      upSeconds: (now - startedAt) / 1000, isStopping: isStopping, addresses: listeningAddresses(isImplicit: false),
      implicitAddresses: listeningAddresses(isImplicit: true),
      sessions: runningSessions.map { $0.summary(now: now) }, sessionsLimit: admission.limits.sessions,
      backends: admission.backends, backendsLimit: admission.limits.backends, totals: totals,
      certificates: credentials.served.map {
        StatusReport.Certificate(path: $0.path, names: $0.serverName.map { [$0] } ?? $0.names, validUntil: $0.validUntil)
      },
      certificatesFailure: certificates.failure, keys: keys?.report(now: now))
  }
}

extension Listener {
  // Mutating only because an Optional of a noncopyable value gives access to its payload in no other way.
  fileprivate mutating func take() -> Accepted { accept() }
  fileprivate mutating func pollNumber() -> CInt { descriptor.number }
}

extension Descriptor {
  fileprivate mutating func pollNumber() -> CInt { number }
  fileprivate mutating func receiveNow(into buffer: UnsafeMutableRawBufferPointer) -> IOResult { receive(into: buffer) }
  fileprivate mutating func sendNow(_ octets: UnsafeRawBufferPointer) -> IOResult { send(octets) }
}
