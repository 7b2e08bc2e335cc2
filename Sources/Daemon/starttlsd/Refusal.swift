// Refusal: a client that gets a reply in place of a greeting and is closed. One that begins with TLS gets no text.
//
// The text fits into the empty send buffer of a new socket. Then our half is ended, and the client's input is discarded
// for a short time: a close with unread input would send a reset, and the client could lose the text.

import Glibc
import Transport

final class Refusal: EventOwner, TimerOwner {
  private static let lingerMilliseconds = 2_000
  /// The maximum number of octets to discard.
  private static let discardLimit = 65_536

  private unowned let daemon: Daemon
  private let reply: StaticString
  /// nil after it has ended.
  private var socket: Descriptor?
  private var watch: Watch?
  private var discarded = 0
  private(set) var deadline: Int?
  var scheduled: Int?
  /// True if its descriptor is the reserved one.
  let usesSpare: Bool

  init(_ daemon: Daemon, _ connection: consuming Connection, _ reply: StaticString, usesSpare: Bool) {
    self.daemon = daemon
    self.reply = reply
    self.usesSpare = usesSpare
    socket = connection.takeDescriptor()
  }

  /// Sends the reply and ends our half.
  func begin(now: Int) {
    deadline = now + Refusal.lingerMilliseconds
    guard case .moved? = socket?.sendLast(reply) else { return finish() }
    guard let number = socket?.pollNumber() else { return }
    let wanted = Watch(descriptor: number, events: CShort(POLLIN))
    do {
      try daemon.loop.update(nil, to: wanted, for: self)
      watch = wanted
      daemon.timers.schedule(self)
    } catch {
      finish()
    }
  }

  func ready(now: Int) {
    guard let due = deadline else { return }
    if due <= now || isOver() { finish() }
  }

  /// Discards the client's input; true if nothing more is pending.
  private func isOver() -> Bool {
    withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { buffer in
      while discarded < Refusal.discardLimit {
        switch socket?.discard(into: buffer) ?? .ended {
        case .moved(let count): discarded += count
        case .wouldBlock: return false
        case .ended, .failed: return true
        }
      }
      return true
    }
  }

  /// Closes it, regardless of the client.
  func finish() {
    guard socket != nil else { return }
    if let watch { daemon.loop.forget(watch.descriptor) }
    watch = nil
    socket = nil
    deadline = nil
    daemon.finished(self)
  }
}

extension Descriptor {
  // Mutating only because an Optional of a noncopyable value gives access to its payload in no other way.

  fileprivate mutating func sendLast(_ reply: StaticString) -> IOResult { sendReply(reply) }

  /// Sends a reply and ends our half.
  @discardableResult
  borrowing func sendReply(_ reply: StaticString) -> IOResult {
    let answer: IOResult = reply.utf8CodeUnitCount == 0 ? .moved(0) : send(UnsafeRawBufferPointer(start: reply.utf8Start, count: reply.utf8CodeUnitCount))
    try? shutdownSending()
    return answer
  }

  fileprivate mutating func discard(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    receive(into: buffer)
  }
}
