// ReportSocket: a listening socket at which programs of this machine ask for the state of the daemon.
//
// A client sends a request and gets one report.
//
// Contract: nothing waits. A report is made in one turn and written as far as the client reads. A client has five seconds; two
// are served at the same time, the others wait in the kernel's queue.

import CKernel
import Glibc
import Logging
import Transport

final class ReportSocket: EventOwner, TimerOwner {
  /// The maximum number of clients at a time: each has a descriptor.
  static let clientsLimit = 2

  private unowned let daemon: Daemon
  private let address: SocketAddress
  /// False if the supervisor removes the file of a Unix socket.
  private let ownsFile: Bool
  private var listener: Listener?
  private var watch: Watch?
  private var clients: [ObjectIdentifier: ReportClient] = [:]
  /// Set while no connection can be accepted for lack of descriptors or memory.
  private(set) var deadline: Int?
  var scheduled: Int?
  /// The report for the octets of a request; nil if it is not complete.
  let report: (_ request: [UInt8]) -> [UInt8]?
  /// The maximum number of octets of a request. A request of this length is complete.
  let requestLimit: Int

  /// Creates the socket. A Unix socket that a daemon left when it was killed is replaced; only the user that created it, or the one
  /// that starttlsd changes to, may connect to it.
  ///
  /// - Parameters:
  ///   - address: a Unix socket, or a loopback address.
  ///   - inherited: the listening socket, which the supervisor created; nil to create it.
  init(
    _ daemon: Daemon, _ address: SocketAddress, inherited: CInt?, requestLimit: Int,
    report: @escaping (_ request: [UInt8]) -> [UInt8]?
  ) throws(SystemError) {
    self.daemon = daemon
    self.report = report
    self.requestLimit = requestLimit
    ownsFile = inherited == nil
    let made: Listener
    if let inherited {
      made = try Listener(inherited: Descriptor(adopting: inherited))
    } else {
      made = try ReportSocket.listener(address, owner: daemon.configuration.privileges.own)
    }
    self.address = made.address
    listener = consume made
    listen()
  }

  /// Creates the socket.
  ///
  /// - Parameters:
  ///   - owner: the user that may connect to a Unix socket besides root.
  ///   - mode: that of the file of a Unix socket.
  static func listener(_ address: SocketAddress, owner: Identity?, mode: UInt32 = 0o600) throws(SystemError) -> Listener {
    if case .unix(let path) = address {
      try ReportSocket.removeStale(path)
      // The mode has to be right from the start: bind creates the file.
      let mask = umask(~mode & 0o777)
      defer { umask(mask) }
      let listener = try Listener(address, backlog: 8)
      // The user that starttlsd changes to may ask as well.
      if let owner, kernel_give_socket(path, owner.user, owner.group) != 0 { throw SystemError.last("chown") }
      return listener
    }
    return try Listener(address, backlog: 8)
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

  /// The address, with the port that the kernel chose.
  var bound: SocketAddress { address }

  func ready(now: Int) {
    if let due = deadline {
      guard due <= now else { return }
      deadline = nil
    }
    accepting: while clients.count < ReportSocket.clientsLimit {
      switch listener?.take() ?? .wouldBlock {
      case .connection(let connection):
        let client = ReportClient(daemon, self, connection)
        clients[ObjectIdentifier(client)] = client
        client.begin(now: now)
      case .vanished: continue
      case .wouldBlock: break accepting
      case .failed:
        // The connection stays in the queue, and poll would report it again at once.
        deadline = now + 1000
        daemon.timers.schedule(self)
        break accepting
      }
    }
    listen()
  }

  func finished(_ client: ReportClient) {
    clients[ObjectIdentifier(client)] = nil
    listen()
  }

  /// Waits for clients if another may be served.
  private func listen() {
    let number = clients.count < ReportSocket.clientsLimit && deadline == nil ? listener?.pollNumber() : nil
    let wanted = number.map { Watch(descriptor: $0, events: CShort(POLLIN)) }
    do {
      try daemon.loop.update(watch, to: wanted, for: self)
      watch = wanted
    } catch {
      daemon.log.error("\(address): \(error)")
    }
  }

  /// The daemon ends.
  func close() {
    for client in clients.values { client.finish() }
    deadline = nil
    if let watch { daemon.loop.remove(watch.descriptor) }
    watch = nil
    guard listener != nil else { return }
    listener = nil
    if ownsFile, case .unix(let path) = address { unlink(path) }
  }
}

/// One client of a report socket.
final class ReportClient: EventOwner, TimerOwner {
  private static let milliseconds = 5_000

  private unowned let daemon: Daemon
  private unowned let owner: ReportSocket
  private var socket: Descriptor?
  private var watch: Watch?
  private var request: [UInt8] = []
  private var report: ArraySlice<UInt8>?
  private(set) var deadline: Int?
  var scheduled: Int?

  init(_ daemon: Daemon, _ owner: ReportSocket, _ connection: consuming Connection) {
    self.daemon = daemon
    self.owner = owner
    socket = connection.takeDescriptor()
  }

  func begin(now: Int) {
    deadline = now + ReportClient.milliseconds
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
    var buffer = [UInt8](repeating: 0, count: owner.requestLimit - request.count)
    let answer = buffer.withUnsafeMutableBytes { socket?.receiveNow(into: $0) ?? .ended }
    switch answer {
    case .moved(let count): request += buffer[..<count]
    case .wouldBlock: return
    case .ended, .failed: return finish()
    }
    if let made = owner.report(request) {
      report = made[...]
      wait(for: CShort(POLLOUT))
    } else if request.count >= owner.requestLimit {
      finish()
    }
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

extension Descriptor {
  fileprivate mutating func receiveNow(into buffer: UnsafeMutableRawBufferPointer) -> IOResult { receive(into: buffer) }
  fileprivate mutating func sendNow(_ octets: UnsafeRawBufferPointer) -> IOResult { send(octets) }
}
