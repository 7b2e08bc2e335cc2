// Refusal: a client that is sent away with 421 4.3.2, in place of a greeting.
//
// The text fits into the empty buffer of a new socket. Then our half is ended, and what the client sends is discarded for
// a moment: a close with unread input would be a reset, which can take the text back.

import Glibc
import Transport

final class Refusal: EventOwner, TimerOwner {
  private static let lingerMilliseconds = 2_000
  /// At most so many octets are discarded.
  private static let discardLimit = 65_536

  private unowned let daemon: Daemon
  /// nil once it has ended.
  private var socket: Descriptor?
  private var watch: Watch?
  private var discarded = 0
  private(set) var deadline: Int?
  var scheduled: Int?
  /// Whether its descriptor is the one that was kept in reserve.
  let usesSpare: Bool

  init(_ daemon: Daemon, _ connection: consuming Connection, usesSpare: Bool) {
    self.daemon = daemon
    self.usesSpare = usesSpare
    socket = connection.takeDescriptor()
  }

  /// Sends the reply and ends our half.
  func begin(now: Int) {
    deadline = now + Refusal.lingerMilliseconds
    let text = ServiceReply.tooManyConnections
    let octets = UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
    guard case .moved = socket?.sendLast(octets) else { return finish() }
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

  /// Discards what the client has sent; true when nothing more is to be waited for.
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

  /// Closes it, whatever the client does.
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
  // Mutating in form only: an Optional of a noncopyable value lends its payload to nothing else.

  fileprivate mutating func pollNumber() -> CInt { number }

  fileprivate mutating func sendLast(_ octets: UnsafeRawBufferPointer) -> IOResult {
    let answer = send(octets)
    try? shutdownSending()
    return answer
  }

  fileprivate mutating func discard(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    receive(into: buffer)
  }
}
