// HelperConnection: the connection of the event loop to a forked process.
//
// Neither direction waits. Messages that the other process has no room for stay in a queue, with their descriptors.

import Glibc
import Transport

/// What a message, or the end of the process, leads to.
protocol HelperUser: AnyObject {
  /// A message was received. `descriptor` is closed after the call unless it is taken.
  func received(_ message: HelperMessage, _ descriptor: inout Descriptor?, now: Int)
}

final class HelperConnection: EventOwner, TimerOwner {
  /// The name in messages for the operator.
  let name: String
  weak var user: (any HelperUser)?
  private unowned let daemon: Daemon
  private let process: ForkedProcess
  private var watch: Watch?
  private var batch = EventBatch(limit: 32)
  private var pending: [PendingMessage] = []
  /// The descriptors in `pending`, which are open here until they are sent.
  private var descriptors = 0
  private(set) var hasEnded = false
  /// When the first of `pending` is sent again after a lack, see `MessageSocket.isLack`; else POLLOUT reports when to.
  private(set) var deadline: Int?
  var scheduled: Int?

  /// A message for which there was no room yet.
  private struct PendingMessage {
    let octets: [UInt8]
    let descriptor: SharedDescriptor?
  }

  init(_ daemon: Daemon, _ name: String, _ process: consuming ForkedProcess) throws(SystemError) {
    self.daemon = daemon
    self.name = name
    self.process = process
    try register()
  }

  /// Sends a message, now or later, with a descriptor. False if it is too long.
  func send(_ message: HelperMessage, _ descriptor: SharedDescriptor? = nil) -> Bool {
    guard let octets = message.octets else { return false }
    pending.append(PendingMessage(octets: octets, descriptor: descriptor))
    flush(added: descriptor == nil ? 0 : 1)
    return true
  }

  /// - Parameter added: the number of descriptors that the last message brought.
  private func flush(added: Int = 0) {
    var sent = 0
    var change = added
    deadline = nil
    for message in pending {
      do {
        try process.socket.send(message.octets, descriptor: message.descriptor?.descriptor.number ?? -1)
      } catch {
        // Without room the rest stays. If the process has ended, the end of the connection is reported soon.
        if MessageSocket.isLack(error), !hasEnded { deadline = Clock.now() + MessageSocket.lackMilliseconds }
        break
      }
      sent += 1
      if message.descriptor != nil { change -= 1 }
    }
    pending.removeFirst(sent)
    count(change)
    daemon.timers.schedule(self)
    do { try register() } catch { daemon.lost(name, "cannot be waited for: \(error)") }
  }

  /// So many more descriptors are in `pending`.
  private func count(_ difference: Int) {
    guard difference != 0 else { return }
    descriptors += difference
    daemon.queued(difference)
  }

  private func register() throws(SystemError) {
    guard !hasEnded else { return }
    let events = pending.isEmpty || deadline != nil ? CShort(POLLIN) : CShort(POLLIN | POLLOUT)
    let wanted = Watch(descriptor: process.socket.descriptor.number, events: events)
    try daemon.loop.update(watch, to: wanted, for: self)
    watch = wanted
  }

  /// An event, or the time to send again.
  ///
  /// Takes one message, and more where they wait in turn after turn. The loop reports the socket again if there are more.
  func ready(now: Int) {
    for _ in 0..<batch.begin(turn: daemon.loop.turn) where !hasEnded {
      guard receiveOne(now: now) else {
        batch.foundNothing()
        break
      }
    }
    if !hasEnded, !pending.isEmpty { flush() }
  }

  /// Takes all messages that have arrived.
  func receive(now: Int) {
    while !hasEnded, receiveOne(now: now) {}
  }

  /// False if nothing has arrived.
  private func receiveOne(now: Int) -> Bool {
    switch process.socket.receive(limit: HelperMessage.limit) {
    case .nothing: return false
    case .message(var message):
      if let known = HelperMessage(message.octets) {
        user?.received(known, &message.descriptor, now: now)
      } else {
        end("sent a message of an unknown form")
      }
    case .ended: end("has ended")
    }
    return true
  }

  private func end(_ what: String) {
    hasEnded = true
    deadline = nil
    if let watch { daemon.loop.remove(watch.descriptor) }
    watch = nil
    pending = []
    count(-descriptors)
    daemon.lost(name, process.howItEnded(what))
  }

  /// The order to end, at the end of starttlsd. A process that waits for a file system ends when that call ends.
  func finish() {
    guard !hasEnded else { return }
    hasEnded = true
    deadline = nil
    if let watch { daemon.loop.remove(watch.descriptor) }
    watch = nil
    _ = process.end(within: 1_000)
  }
}

extension ForkedProcess {
  /// For the operator, after the end of the connection, which may come a moment before that of the process.
  borrowing func howItEnded(_ what: String = "has ended") -> String {
    switch end(within: 500) {
    case .exited(let code): "\(what) (exit code \(code))"
    case .signalled(let signal): "\(what) (signal \(signal))"
    case nil: what
    }
  }
}

/// A descriptor that a queue holds.
final class SharedDescriptor {
  let descriptor: Descriptor

  init(_ descriptor: consuming Descriptor) {
    self.descriptor = descriptor
  }
}
