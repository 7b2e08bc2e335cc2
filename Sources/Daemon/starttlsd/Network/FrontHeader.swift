// FrontHeader: a connection from a front, until its PROXY header has arrived.
//
// Octets are peeked at, and exactly those of the header are taken, also those of a part of it: what follows belongs to the session. A
// connection without a header is closed, because the front's address would stand for the client's in limits, rules and log.

import CKernel
import Glibc
import Transport

final class FrontHeader: EventOwner, TimerOwner {
  /// HAProxy sends the header at once; its specification asks receivers to wait at least 3 seconds for a lost segment.
  private static let timeoutMilliseconds = 5_000

  private unowned let daemon: Daemon
  /// nil after it has ended.
  private var socket: Descriptor?
  private var watch: Watch?
  /// What was taken of the header.
  private var taken: [UInt8] = []
  /// The front's address.
  let peer: SocketAddress
  /// True if the client begins with TLS after the header.
  let isImplicit: Bool
  private(set) var deadline: Int?
  var scheduled: Int?

  init(_ daemon: Daemon, _ connection: consuming Connection, isImplicit: Bool) {
    self.daemon = daemon
    self.isImplicit = isImplicit
    peer = connection.peer.ofClient
    socket = connection.takeDescriptor()
  }

  func begin(now: Int) throws(SystemError) {
    guard let number = socket?.pollNumber() else { return }
    let wanted = Watch(descriptor: number, events: CShort(POLLIN) | CShort(KERNEL_POLLRDHUP))
    try daemon.loop.update(nil, to: wanted, for: self)
    watch = wanted
    deadline = now + FrontHeader.timeoutMilliseconds
    daemon.timers.schedule(self)
  }

  func ready(now: Int) {
    guard let due = deadline else { return }
    if due <= now { return finish(nil, "it sends no PROXY header in time", now: now) }
    var octets = [UInt8](repeating: 0, count: ProxyHeader.limit)
    switch octets.withUnsafeMutableBytes({ socket?.show(in: $0) ?? .ended }) {
    case .moved(let count): look(octets[..<count], now: now)
    case .ended: finish(nil, "it closed before its PROXY header was complete", now: now)
    case .failed(let error): finish(nil, "\(error)", now: now)
    case .wouldBlock: break
    }
  }

  private func look(_ octets: ArraySlice<UInt8>, now: Int) {
    let header = taken + octets
    let reading = ProxyHeader.read(header[...])
    if case .invalid(let why) = reading { return finish(nil, why, now: now) }
    let count = if case .complete(_, let count) = reading { count } else { header.count }
    do throws(SystemError) {
      try socket?.remove(count - taken.count)
    } catch {
      return finish(nil, "\(error)", now: now)
    }
    taken = header
    if case .complete(let header, _) = reading { finish(header, nil, now: now) }
  }

  /// The program stops.
  func stop(now: Int) { finish(nil, "starttlsd stops", now: now) }

  private func finish(_ header: ProxyHeader?, _ failure: String?, now: Int) {
    guard let socket = socket.take() else { return }
    if let watch { daemon.loop.remove(watch.descriptor) }
    watch = nil
    deadline = nil
    let client = (header?.source ?? peer).ofClient
    // With version 1 HAProxy's checks name both ends of their own connection.
    let connection = Connection(descriptor: socket, peer: client, local: header?.destination, isFrontsOwn: client == peer)
    daemon.finished(self, connection, failure, now: now)
  }
}

extension Descriptor {
  // Mutating only because an Optional of a noncopyable value gives access to its payload in no other way.
  fileprivate mutating func show(in buffer: UnsafeMutableRawBufferPointer) -> IOResult { peek(into: buffer) }

  /// Takes octets that were shown.
  fileprivate mutating func remove(_ count: Int) throws(SystemError) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 1)
    defer { buffer.deallocate() }
    try take(exactly: count, into: buffer)
  }
}
