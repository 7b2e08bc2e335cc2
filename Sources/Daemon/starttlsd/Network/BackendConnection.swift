// BackendConnection: a connection to one of the servers, until the session gets it.
//
// The servers are tried in turn. Once one has accepted the connection, the PROXY header is sent, and the first octets of its greeting
// are looked at. The session gets the socket of the first server that greets with 220, with the greeting still in it. Nothing was sent to
// the client yet, so the next server may take the place of one that refuses, ends, sends something else or is too slow.
//
// All of them share the time in which the client must have its greeting: each gets an equal part of what is left, for connection and
// greeting. What the last one sends goes to the session whatever it is: so the client reads the server's own refusal.
//
// A header always fits the buffer of a new connection; a server for which it does not is passed over.
//
// Failure: no server answers; the text names the last one and its error.

import CKernel
import ClientAccess
import Glibc
import Transport

final class BackendConnection: EventOwner, TimerOwner, ConnectorUser {
  /// poll reports peeked octets again at once, so the rest of a partial greeting is looked for after this time.
  private static let cutGreetingMilliseconds = 50

  private enum Step {
    /// The socket is to come from the process that connects.
    case requested
    case connecting
    case greeting
  }

  private unowned let daemon: Daemon
  private let health: BackendHealth
  private let header: [UInt8]
  /// The client's address, if the connection is to come from it.
  private let source: SocketAddress?
  /// The client, if the servers learn its address.
  private let client: IPNetwork?
  private let connectMilliseconds: Int
  /// When the last server must have sent its greeting.
  private let limit: Int
  /// The servers that are still to be tried.
  private var rest: ArraySlice<Int>
  /// nil unless a server is being tried.
  private var current: Int?
  private var step = Step.requested
  /// The number of the request in that step.
  private var request: UInt32?
  private var socket: Descriptor?
  private var watch: Watch?
  /// The end of the step, and that of the server's part of the time.
  private var stepUntil = 0
  private var partUntil = 0
  /// True once the last server is known to be too slow. The session's own timer ends the wait for it.
  private var isTooSlow = false
  private var failure = "there is none of the client's address family"
  private(set) var deadline: Int?
  var scheduled: Int?
  /// Called once, if the result was pending.
  private var completion: ((consuming ServerStart, Int) -> Void)?

  /// - Parameters:
  ///   - servers: their timeout for a connection.
  ///   - greetingMilliseconds: the session's timeout for the greeting, which begins now.
  init(
    _ daemon: Daemon, _ health: BackendHealth, _ servers: BackendServers, header: [UInt8], peer: SocketAddress, greetingMilliseconds: Int, now: Int
  ) {
    self.daemon = daemon
    self.health = health
    self.header = header
    if case .transparent = servers.client { source = peer } else { source = nil }
    if case .unnamed = servers.client { client = nil } else { client = IPNetwork(of: peer, length: 64) }
    connectMilliseconds = servers.connectMilliseconds
    // A little earlier than the session, so that the reason is known when that ends.
    limit = Clock.time(greetingMilliseconds - greetingMilliseconds / 50, after: now)
    rest = health.order(from: source, for: client, now: now)[...]
  }

  /// Starts to connect.
  ///
  /// - Parameter completion: gets the result if this method returned `.pending`.
  func begin(now: Int, _ completion: @escaping (consuming ServerStart, Int) -> Void) -> ServerStart {
    let start = advance(now: now)
    if isPending { self.completion = completion }
    return start
  }

  /// True while a result is to come.
  var isPending: Bool { current != nil }

  /// Why the client got no server, if the last one does not answer.
  var failureOfLast: String? { isTooSlow ? failureText : nil }

  private var failureText: String { "no server answers: \(failure)" }

  /// The session has ended: no result is wanted.
  func cancel(now: Int) {
    completion = nil
    // The session may have ended because of this server, a moment before it was found to be too slow.
    if let current, case .greeting = step, now >= partUntil { noteTooSlow(current, now: now) }
    drop()
  }

  func ready(now: Int) {
    guard let current else { return }
    guard let start = proceed(current, now: now) else { return finish(advance(now: now), now: now) }
    finish(start, now: now)
  }

  private func finish(_ start: consuming ServerStart, now: Int) {
    guard !isPending, let completion else { return }
    self.completion = nil
    completion(start, now)
  }

  /// Tries the servers until one answers or has to be waited for.
  private func advance(now: Int) -> ServerStart {
    while let index = rest.popFirst() {
      current = index
      step = .requested
      health.attemptBegins(index, for: client, now: now)
      partUntil = now + max(1, (limit - now) / (rest.count + 1))
      stepUntil = min(partUntil, now + connectMilliseconds)
      do throws(SystemError) {
        if let connector = daemon.connector {
          request = try connector.request(index, from: source, for: self)
          wait(until: stepUntil)
          return .pending
        }
        // One client (--inetd).
        socket = try health.addresses[index].connect(from: source)
        step = .connecting
      } catch {
        fail(index, error, now: now)
        continue
      }
      if let start = proceed(index, now: now) { return start }
    }
    return .failed(failureText)
  }

  func connected(_ socket: consuming Descriptor, now: Int) {
    request = nil
    deadline = nil
    self.socket = consume socket
    step = .connecting
    ready(now: now)
  }

  func failed(_ error: SystemError, now: Int) {
    request = nil
    if let current { fail(current, error, now: now) }
    finish(advance(now: now), now: now)
  }

  /// Makes the progress with a server that is possible now.
  ///
  /// - Returns: nil if the next server is to be tried.
  private func proceed(_ index: Int, now: Int) -> ServerStart? {
    do throws(SystemError) {
      if case .requested = step {
        guard stepUntil > now else { throw SystemError("recvmsg", ETIMEDOUT) }
        wait(until: stepUntil)
        return .pending
      }
      if case .connecting = step {
        guard try isConnected(now: now) else { return .pending }
        try sendHeader()
        step = .greeting
        stepUntil = partUntil
      }
      return try lookAtGreeting(index, now: now)
    } catch {
      fail(index, error, now: now)
      return nil
    }
  }

  private func isConnected(now: Int) throws(SystemError) -> Bool {
    let number = socket?.pollNumber() ?? -1
    let events = try Kernel.pollNow(number, CInt(POLLOUT))
    guard events != 0 else {
      if stepUntil <= now { throw SystemError("connect", ETIMEDOUT) }
      try wait(for: CShort(POLLOUT), until: stepUntil)
      return false
    }
    if events & CInt(POLLERR) != 0, let error = try socket?.pendingError() { throw error }
    return true
  }

  private func sendHeader() throws(SystemError) {
    guard !header.isEmpty else { return }
    switch header.withUnsafeBytes({ socket?.give($0) ?? .ended }) {
    case .moved(let count) where count == header.count: return
    case .failed(let error): throw error
    case .moved, .wouldBlock, .ended: throw SystemError("send", EMSGSIZE)
    }
  }

  // MARK: The greeting

  /// - Returns: nil if the next server is to be tried.
  private func lookAtGreeting(_ index: Int, now: Int) throws(SystemError) -> ServerStart? {
    var octets = [UInt8](repeating: 0, count: ServerGreeting.length)
    var count = 0
    var hasEnded = false
    func broke(_ error: SystemError) -> ServerStart? { reject(index, "its connection broke before its greeting: \(error)", now: now) }
    while true {
      switch octets.withUnsafeMutableBytes({ socket?.show(in: $0) ?? .ended }) {
      case .moved(let shown): count = shown
      case .failed(let error): return broke(error)
      case .ended: return reject(index, "it ended before its greeting", now: now)
      case .wouldBlock:
        do throws(SystemError) {
          try socket?.dropUrgent()
        } catch {
          return broke(error)
        }
      }
      if count == octets.count || hasEnded { break }
      // If the server has ended, no more octets follow; those that came before the end may have arrived after the peek.
      hasEnded = try Kernel.pollNow(socket?.pollNumber() ?? -1, CInt(KERNEL_POLLRDHUP)) != 0
      if !hasEnded { break }
    }
    switch ServerGreeting(octets.prefix(count)) {
    case .ready:
      health.answered(index, for: client)
      return take()
    case .refused(let code): return reject(index, "its greeting has the code \(code)", isRefusal: true, hasAnswered: true, now: now)
    case .garbage: return reject(index, "its greeting is not SMTP", hasAnswered: true, now: now)
    case .incomplete where hasEnded: return reject(index, "it ended before its greeting", now: now)
    case .incomplete: return try waitForGreeting(index, hasOctets: count > 0, now: now)
    }
  }

  private func waitForGreeting(_ index: Int, hasOctets: Bool, now: Int) throws(SystemError) -> ServerStart? {
    if stepUntil <= now {
      guard rest.isEmpty else { return reject(index, BackendConnection.slowness, now: now) }
      noteTooSlow(index, now: now)
    }
    let end = isTooSlow ? Int.max : stepUntil
    if hasOctets {
      try wait(for: CShort(KERNEL_POLLRDHUP), until: min(end, now + BackendConnection.cutGreetingMilliseconds))
    } else {
      try wait(for: CShort(POLLIN), until: isTooSlow ? nil : end)
    }
    return .pending
  }

  private static let slowness = "it sent no greeting in time"

  private func noteTooSlow(_ index: Int, now: Int) {
    guard !isTooSlow else { return }
    isTooSlow = true
    note(index, BackendConnection.slowness, isRefusal: false, now: now)
  }

  /// The server does not greet as one that is ready.
  ///
  /// - Returns: nil if the next server is to be tried.
  private func reject(_ index: Int, _ why: String, isRefusal: Bool = false, hasAnswered: Bool = false, now: Int) -> ServerStart? {
    note(index, why, isRefusal: isRefusal, now: now)
    if hasAnswered, rest.isEmpty { return take() }
    drop()
    return nil
  }

  private func take() -> ServerStart {
    removeWatch()
    let socket = socket.take()
    drop()
    guard let socket else { return .failed(failureText) }
    return .started(socket)
  }

  // MARK: Failures

  private func note(_ index: Int, _ why: String, isRefusal: Bool, now: Int) {
    failure = "\(health.addresses[index]): \(why)"
    health.failed(index, why, isRefusal: isRefusal, only: client, now: now)
  }

  private func fail(_ index: Int, _ error: SystemError, now: Int) {
    failure = "\(health.addresses[index]): \(error)"
    // Only these reach the server; what this machine refuses says nothing about it. Before the header it knows a client only by the
    // address that the connection comes from: then a filter may answer in its place, in any way.
    if error.call == "connect" || error.call == "send" {
      health.failed(index, "\(error)", isRefusal: false, only: source == nil ? nil : client, now: now)
    }
    drop()
  }

  // MARK: Waiting

  private func wait(for events: CShort, until time: Int?) throws(SystemError) {
    let wanted = Watch(descriptor: socket?.pollNumber() ?? -1, events: events)
    try daemon.loop.update(watch, to: wanted, for: self)
    watch = wanted
    wait(until: time)
  }

  private func wait(until time: Int?) {
    deadline = time
    daemon.timers.schedule(self)
  }

  private func drop() {
    if let current { health.attemptEnded(current, for: client) }
    if let request { daemon.connector?.cancel(request) }
    request = nil
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
  fileprivate mutating func show(in buffer: UnsafeMutableRawBufferPointer) -> IOResult { peek(into: buffer) }
  fileprivate mutating func dropUrgent() throws(SystemError) { try dropUrgentOctet() }
}
