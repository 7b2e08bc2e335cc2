// BackendConnection: a connection to one of the servers, until the session gets it.
//
// The servers are tried in turn, each with a timeout. Once one has accepted the connection, the PROXY header is sent, and the
// session gets the socket. A header always fits the buffer of a new connection; a server for which it does not is passed over.
//
// Failure: no server answers; the text names the last one and its error.

import Glibc
import Transport

final class BackendConnection: EventOwner, TimerOwner {
  private unowned let daemon: Daemon
  private let health: BackendHealth
  private let header: [UInt8]
  /// The client's address, if the connection is to come from it.
  private let source: SocketAddress?
  private let timeoutMilliseconds: Int
  /// The servers that are still to be tried.
  private var rest: ArraySlice<Int>
  private var current: Int?
  /// nil unless a connection is being made.
  private var socket: Descriptor?
  private var watch: Watch?
  private var failure = "there is none of the client's address family"
  private(set) var deadline: Int?
  var scheduled: Int?
  /// Called once, if the result was pending.
  private var completion: ((consuming ServerStart, Int) -> Void)?

  init(_ daemon: Daemon, _ health: BackendHealth, header: [UInt8], source: SocketAddress?, timeoutMilliseconds: Int, now: Int) {
    self.daemon = daemon
    self.health = health
    self.header = header
    self.source = source
    self.timeoutMilliseconds = timeoutMilliseconds
    rest = health.order(from: source, now: now)[...]
  }

  /// Starts to connect.
  ///
  /// - Parameter completion: gets the result if this method returned `.pending`.
  func begin(now: Int, _ completion: @escaping (consuming ServerStart, Int) -> Void) -> ServerStart {
    self.completion = completion
    let start = advance(now: now)
    if !isPending { self.completion = nil }
    return start
  }

  /// True while a result is to come.
  var isPending: Bool { watch != nil }

  /// The session has ended: no result is wanted.
  func cancel() {
    completion = nil
    drop()
  }

  func ready(now: Int) {
    guard let current, socket != nil else { return }
    let isDue = deadline.map { $0 <= now } ?? false
    guard let start = progress(current, isDue: isDue, now: now), !isPending else { return }
    let completion = completion
    self.completion = nil
    completion?(start, now)
  }

  /// Tries the servers until one answers or has to be waited for.
  private func advance(now: Int) -> ServerStart {
    while let index = rest.popFirst() {
      do {
        socket = try health.addresses[index].connect(from: source)
        let number = socket?.pollNumber() ?? -1
        current = index
        health.attemptBegins(index)
        if try Kernel.pollNow(number, CInt(POLLOUT)) != 0 {
          if let start = progress(index, isReady: true, isDue: false, now: now) { return start }
          continue
        }
        let wanted = Watch(descriptor: number, events: CShort(POLLOUT))
        try daemon.loop.update(watch, to: wanted, for: self)
        watch = wanted
        deadline = now + timeoutMilliseconds
        daemon.timers.schedule(self)
        return .pending
      } catch {
        fail(index, error, now: now)
      }
    }
    return .failed("no server answers: \(failure)")
  }

  /// The connection to a server is established, or has failed, or its time is over.
  ///
  /// - Parameter isReady: true if the socket is known to be writable.
  /// - Returns: nil if it failed while `advance` tries the servers.
  private func progress(_ index: Int, isReady: Bool = false, isDue: Bool, now: Int) -> ServerStart? {
    let wasPending = isPending
    do throws(SystemError) {
      let number = socket?.pollNumber() ?? -1
      let events = isReady ? CInt(POLLOUT) : try Kernel.pollNow(number, CInt(POLLOUT))
      guard events != 0 else {
        guard isDue else { return .pending }
        throw SystemError("connect", ETIMEDOUT)
      }
      if let error = try socket?.pendingError() { throw error }
      try sendHeader()
    } catch {
      fail(index, error, now: now)
      return wasPending ? advance(now: now) : nil
    }
    health.answered(index)
    let socket = socket.take()
    drop()
    guard let socket else { return .failed(failure) }
    return .started(socket)
  }

  private func sendHeader() throws(SystemError) {
    guard !header.isEmpty else { return }
    switch header.withUnsafeBytes({ socket?.give($0) ?? .ended }) {
    case .moved(let count) where count == header.count: return
    case .failed(let error): throw error
    case .moved, .wouldBlock, .ended: throw SystemError("send", EMSGSIZE)
    }
  }

  private func fail(_ index: Int, _ error: SystemError, now: Int) {
    failure = "\(health.addresses[index]): \(error)"
    // Only these reach the server; what this machine refuses says nothing about it.
    if error.call == "connect" || error.call == "send" { health.failed(index, error, now: now) }
    drop()
  }

  private func drop() {
    if let current { health.attemptEnded(current) }
    removeWatch()
    socket = nil
    current = nil
  }

  private func removeWatch() {
    if let watch { daemon.loop.remove(watch.descriptor) }
    watch = nil
    deadline = nil
  }
}

extension Descriptor {
  // Mutating only because an Optional of a noncopyable value gives access to its payload in no other way.
  fileprivate mutating func pendingError() throws(SystemError) -> SystemError? { try connectionError() }
  fileprivate mutating func give(_ octets: UnsafeRawBufferPointer) -> IOResult { send(octets) }
}
