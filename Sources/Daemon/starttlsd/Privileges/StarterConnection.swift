// StarterConnection: the processes of the server program that the starter has started, as the event loop sees them.
//
// A start does not wait. The session gets its socket at once; if the program cannot be started, the other end of that
// socket is closed, and the session answers 421 4.3.2 as if the program had ended.

import Glibc
import Transport

final class StarterConnection: HelperUser {
  private let connection: HelperConnection
  private var children: [UInt32: StartedChild] = [:]
  private var last: UInt32 = 0

  init(_ connection: HelperConnection) {
    self.connection = connection
    connection.user = self
  }

  /// Starts the program.
  ///
  /// - Parameters:
  ///   - variables: those of the session, `NAME=value`.
  ///   - isNumberWanted: true if the process number is needed before the end of the process.
  /// - Throws: E2BIG if they are too long; EPIPE if the starter has ended.
  func start(
    _ variables: [String], standardStreams: consuming Descriptor, isNumberWanted: Bool
  ) throws(SystemError) -> StartedChild {
    guard !connection.hasEnded else { throw SystemError("sendmsg", EPIPE) }
    repeat { last &+= 1 } while children[last] != nil
    var payload: [UInt8] = []
    for variable in variables {
      payload += variable.utf8
      payload.append(0)
    }
    let message = HelperMessage(Starter.start, number: last, first: isNumberWanted ? 1 : 0, payload: payload)
    let child = StartedChild(self, last)
    guard connection.send(message, SharedDescriptor(standardStreams)) else { throw SystemError("execve", E2BIG) }
    children[last] = child
    return child
  }

  /// Takes all messages that have arrived.
  func receive(now: Int) { connection.receive(now: now) }

  func received(_ message: HelperMessage, _ descriptor: inout Descriptor?, now: Int) {
    guard let child = children[message.number] else { return }
    switch message.kind {
    case Starter.started: child.started(message.first)
    case Starter.failed:
      children[message.number] = nil
      child.ended(.exited(0), failure: SystemError("execve", message.first), now: now)
    case Starter.ended, Starter.reaped:
      // Nothing more can be asked for one that is reaped.
      if message.kind == Starter.reaped { children[message.number] = nil }
      child.started(message.first)
      child.ended(message.second < 0 ? .signalled(-message.second) : .exited(message.second), failure: nil, now: now)
    default: break
    }
  }

  /// If the starter has ended, nothing more is known of its processes.
  func lostIfEnded(now: Int) {
    if connection.hasEnded { forgetAll(now: now) }
  }

  /// Counts all its processes as ended: nothing more is expected from the starter.
  func forgetAll(now: Int) {
    let known = children.values
    children = [:]
    for child in known { child.ended(.exited(0), failure: nil, now: now) }
  }

  fileprivate func signal(_ child: StartedChild, _ signal: CInt) {
    guard children[child.number] != nil else { return }
    _ = connection.send(HelperMessage(Starter.signal, number: child.number, first: signal))
  }

  fileprivate func reaped(_ child: StartedChild) {
    guard children.removeValue(forKey: child.number) != nil else { return }
    _ = connection.send(HelperMessage(Starter.reap, number: child.number))
  }
}

/// A process that the starter has started.
final class StartedChild: BackendChild {
  private unowned let starter: StarterConnection
  fileprivate let number: UInt32
  private(set) var process: CInt = 0
  private var end: ProcessEnd?
  private(set) var startFailure: String?
  weak var owner: (any EventOwner)?

  init(_ starter: StarterConnection, _ number: UInt32) {
    self.starter = starter
    self.number = number
  }

  fileprivate func started(_ process: CInt) { self.process = process }

  fileprivate func ended(_ end: ProcessEnd, failure: SystemError?, now: Int) {
    self.end = end
    startFailure = failure.map { "the backend cannot be started: \($0)" }
    owner?.ready(now: now)
  }

  var watch: Watch? { nil }
  var hasEnded: Bool { end != nil }
  func signalGroup(_ signal: CInt) { starter.signal(self, signal) }

  func reap() throws(SystemError) -> ProcessEnd? {
    if end != nil { starter.reaped(self) }
    return end
  }
}
