// GreetingWait: a client that has to wait for the greeting, before a backend is started for it.
//
// A mail client does not send anything before the greeting (RFC 5321, 3.1). A client that does gets 554 5.5.1 and is
// closed. So does a client of another protocol. A client that leaves meanwhile costs no process.

import CKernel
import Glibc
import Transport

final class GreetingWait: EventOwner, TimerOwner {
  /// How the wait ended.
  enum End {
    case over
    case early
    case gone
    case stopped
    /// It could not begin.
    case impossible
  }

  private unowned let daemon: Daemon
  /// nil after it has ended.
  private var socket: Descriptor?
  private var watch: Watch?
  let peer: SocketAddress
  private let local: SocketAddress?
  /// For the program, from the client's rule.
  let variables: [String]
  private(set) var deadline: Int?
  var scheduled: Int?

  init(_ daemon: Daemon, _ connection: consuming Connection, variables: [String]) {
    self.daemon = daemon
    self.variables = variables
    peer = connection.peer.ofClient
    local = connection.local
    socket = connection.takeDescriptor()
  }

  /// Starts to wait.
  func begin(now: Int) throws(SystemError) {
    guard let number = socket?.pollNumber() else { return }
    let wanted = Watch(descriptor: number, events: CShort(POLLIN) | CShort(KERNEL_POLLRDHUP))
    try daemon.loop.update(nil, to: wanted, for: self)
    watch = wanted
    deadline = now + daemon.configuration.greetingWaitMilliseconds
    daemon.timers.schedule(self)
  }

  func ready(now: Int) {
    guard let due = deadline else { return }
    switch socket?.firstOctet() ?? .ended {
    case .moved: finish(.early, now: now)
    case .ended, .failed: finish(.gone, now: now)
    case .wouldBlock: if due <= now { finish(.over, now: now) }
    }
  }

  /// Ends the wait; the client continues as `end` requires.
  func finish(_ end: End, now: Int) {
    guard let socket = socket.take() else { return }
    if let watch { daemon.loop.remove(watch.descriptor) }
    watch = nil
    deadline = nil
    daemon.finished(self, end, Connection(descriptor: socket, peer: peer, local: local), now: now)
  }
}

extension Descriptor {
  // Mutating only because an Optional of a noncopyable value gives access to its payload in no other way.

  fileprivate mutating func firstOctet() -> IOResult { peekAtFirstOctet() }

  /// Whether an octet, an end or an error is pending.
  borrowing func peekAtFirstOctet() -> IOResult {
    var octet: UInt8 = 0
    return withUnsafeMutableBytes(of: &octet) { peek(into: $0) }
  }
}
