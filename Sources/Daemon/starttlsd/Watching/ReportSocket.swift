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

/// The process that answers: one that serves, or a supervisor.
protocol ReportHost: AnyObject {
  var loop: EventLoop { get }
  var timers: Timers { get }
  var log: Logger { get }
}

extension Daemon: ReportHost {}
extension Supervisor: ReportHost {}

final class ReportSocket: EventOwner, TimerOwner {
  /// The maximum number of clients at a time: each has a descriptor.
  static let clientsLimit = 2

  /// Answers a request with `ReportClient.send`, at once or later; false if the request is not complete.
  typealias Answer = (_ client: ReportClient, _ request: [UInt8]) -> Bool

  private unowned let host: any ReportHost
  private let address: SocketAddress
  /// The file of a Unix socket that ends with this process; nil if the supervisor removes it.
  private let file: SocketFile?
  private var listener: Listener?
  private var watch: Watch?
  private var clients: [ObjectIdentifier: ReportClient] = [:]
  /// Set while no connection can be accepted for lack of descriptors or memory.
  private(set) var deadline: Int?
  var scheduled: Int?
  private let answer: Answer
  /// The maximum number of octets of a request. A request of this length is complete.
  private let requestLimit: Int

  /// Answers at a socket that exists. Its file is not removed at the end.
  convenience init(_ host: any ReportHost, _ listener: consuming Listener, requestLimit: Int, answer: @escaping Answer) {
    self.init(host, listener, file: nil, requestLimit, answer)
  }

  /// Creates the socket. A Unix socket that a daemon left when it was killed is replaced; only the user that created it, or the one
  /// that starttlsd changes to, may connect to it.
  ///
  /// - Parameters:
  ///   - address: a Unix socket, or a loopback address.
  ///   - inherited: the listening socket, which the supervisor created; nil to create it.
  convenience init(
    _ daemon: Daemon, _ address: SocketAddress, inherited: CInt?, requestLimit: Int, answer: @escaping Answer
  ) throws(SystemError) {
    let made: Listener
    if let inherited {
      made = try Listener(inherited: Descriptor(adopting: inherited))
    } else {
      made = try ReportSocket.listener(address, owner: daemon.configuration.privileges.own)
    }
    self.init(daemon, made, file: inherited == nil ? SocketFile(of: address) : nil, requestLimit, answer)
  }

  private init(_ host: any ReportHost, _ listener: consuming Listener, file: SocketFile?, _ requestLimit: Int, _ answer: @escaping Answer) {
    self.host = host
    self.file = file
    self.requestLimit = requestLimit
    self.answer = answer
    address = listener.address
    self.listener = consume listener
    listen()
  }

  /// Creates the socket.
  ///
  /// - Parameters:
  ///   - owner: the user that may connect to a Unix socket besides root.
  ///   - mode: that of the file of a Unix socket.
  static func listener(_ address: SocketAddress, owner: Identity?, mode: UInt32 = 0o600) throws(SystemError) -> Listener {
    if case .unix(let path) = address {
      try SocketFile.removeStale(of: address)
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
        let client = ReportClient(host, connection.takeDescriptor(), requestLimit: requestLimit, answer) { [unowned self] in finished($0) }
        clients[ObjectIdentifier(client)] = client
        client.read(now: now)
      case .vanished: continue
      case .wouldBlock: break accepting
      case .failed:
        // The connection stays in the queue, and poll would report it again at once.
        deadline = now + 1000
        host.timers.schedule(self)
        break accepting
      }
    }
    listen()
  }

  private func finished(_ client: ReportClient) {
    clients[ObjectIdentifier(client)] = nil
    listen()
  }

  /// Waits for clients if another may be served.
  private func listen() {
    let number = clients.count < ReportSocket.clientsLimit && deadline == nil ? listener?.pollNumber() : nil
    let wanted = number.map { Watch(descriptor: $0, events: CShort(POLLIN)) }
    do {
      try host.loop.update(watch, to: wanted, for: self)
      watch = wanted
    } catch {
      host.log.error("\(address): \(error)")
    }
  }

  /// The daemon ends.
  func close() {
    for client in clients.values { client.finish() }
    deadline = nil
    if let watch { host.loop.remove(watch.descriptor) }
    watch = nil
    guard listener != nil else { return }
    // First the file: once nobody listens, another starttlsd may replace it.
    file?.remove()
    listener = nil
  }
}

