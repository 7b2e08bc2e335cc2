// ListenerOwner: a listening socket in the event loop.

import Glibc
import Logging
import Transport

final class ListenerOwner: EventOwner, TimerOwner {
  private unowned let daemon: Daemon
  private var listener: Listener?
  private var watch: Watch?
  let address: SocketAddress
  /// The file of a Unix socket that ends with this process.
  private let file: SocketFile?
  /// The supervisor's name for the socket.
  let name: String?
  /// True if its clients begin with TLS.
  let isImplicit: Bool
  /// True if other workers accept from the same socket.
  private let isShared: Bool
  private var batch: EventBatch
  /// Set while no connection can be accepted for lack of descriptors or memory.
  private var pausedUntil: Int?
  /// When a shared socket is registered again: the kernel wakes one worker for a client, and that one may have ended, or stopped
  /// accepting, before it accepted.
  private var registeredAgainAt: Int?
  var deadline: Int? { pausedUntil ?? registeredAgainAt }
  var scheduled: Int?

  init(_ daemon: Daemon, _ listener: consuming Listener, name: String? = nil, isImplicit: Bool, isShared: Bool = false, file: SocketFile? = nil) {
    self.daemon = daemon
    self.isShared = isShared
    batch = EventBatch(limit: isShared ? 4 : 32)
    self.file = file
    self.name = name
    self.isImplicit = isImplicit
    address = listener.address
    self.listener = consume listener
  }

  /// Starts or stops waiting for connections.
  func listen(_ on: Bool) {
    let wanted = on && pausedUntil == nil ? number.map { Watch(descriptor: $0, events: CShort(POLLIN)) } : nil
    do {
      try daemon.loop.update(watch, to: wanted, for: self, isShared: isShared)
      watch = wanted
      if isShared {
        registeredAgainAt = wanted == nil ? nil : Clock.now() + 1000
        daemon.timers.schedule(self)
      }
    } catch {
      daemon.log.critical("\(address): no connection is accepted: \(error); next attempt in a second")
      pausedUntil = Clock.now() + 1000
      daemon.timers.schedule(self)
    }
  }

  func close() {
    // First the file: once nobody listens, another starttlsd may replace it.
    file?.remove()
    listener = nil
    pausedUntil = nil
    registeredAgainAt = nil
  }

  private var number: CInt? { listener?.pollNumber() }

  func ready(now: Int) {
    if let due = pausedUntil {
      guard due <= now else { return }
      resume()
    }
    // The kernel wakes the worker that waits for the longest time. After a client it is the turn of the others.
    defer { if isShared, watch != nil { waitLast() } }
    // Accepts a limited number at a time: existing sessions, and other workers, have priority.
    for _ in 0..<batch.begin(turn: daemon.loop.turn) where watch != nil {
      let now = Clock.now()
      switch listener?.take() ?? .wouldBlock {
      case .connection(let connection): daemon.accept(connection, isImplicit: isImplicit, now: now)
      case .wouldBlock: return batch.foundNothing()
      case .vanished: continue
      case .failed(let error): return failed(error, now: now)
      }
    }
  }

  /// Registers the socket again, which puts this process at the end of those that wait for it.
  private func waitLast() {
    listen(false)
    listen(daemon.isListening)
  }

  /// No connection can be accepted. If no descriptor is left, the next client gets the reserved one, and a 421.
  private func failed(_ error: SystemError, now: Int) {
    daemon.acceptWarning.note("\(address): \(error): clients are refused or wait; next attempt in a second", now: now)
    if error.code == EMFILE || error.code == ENFILE, daemon.spare.lend() {
      if case .connection(let connection) = listener?.take() ?? .wouldBlock {
        daemon.refuseForLackOfDescriptors(connection, isImplicit: isImplicit, now: now)
      } else {
        daemon.spare.take()
      }
    }
    pause(now: now)
  }

  /// New clients wait in the kernel's queue for a second.
  private func pause(now: Int) {
    pausedUntil = now + 1000
    listen(false)
    daemon.timers.schedule(self)
  }

  /// Descriptors may be available again.
  func resume() {
    pausedUntil = nil
    listen(daemon.isListening)
  }
}

/// A reserved descriptor for a client that connects when no other is left.
struct SpareDescriptor: ~Copyable {
  private var descriptor: Descriptor?

  init() {
    take()
  }

  /// Frees the number for the next accept; false if it is already in use.
  mutating func lend() -> Bool {
    guard descriptor != nil else { return false }
    descriptor = nil
    return true
  }

  /// Reserves it again. If that fails, there is no reserve until the next attempt.
  mutating func take() {
    guard descriptor == nil, let number = try? Kernel.open("/dev/null", O_RDONLY) else { return }
    descriptor = Descriptor(adopting: number)
  }
}
