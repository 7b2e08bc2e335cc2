// ListenerOwner: a listening socket in the loop.

import Glibc
import Logging
import Transport

final class ListenerOwner: EventOwner, TimerOwner {
  private unowned let daemon: Daemon
  private var listener: Listener?
  private var watch: Watch?
  let address: SocketAddress
  /// While no connection can be accepted for want of descriptors or memory.
  private(set) var deadline: Int?
  var scheduled: Int?

  init(_ daemon: Daemon, _ listener: consuming Listener) {
    self.daemon = daemon
    address = listener.address
    self.listener = consume listener
  }

  /// Waits for connections, or does not.
  func listen(_ on: Bool) {
    let wanted = on && deadline == nil ? number.map { Watch(descriptor: $0, events: CShort(POLLIN)) } : nil
    do {
      try daemon.loop.update(watch, to: wanted, for: self)
      watch = wanted
    } catch {
      daemon.log.critical("\(address): \(error)")
    }
  }

  func close() {
    listener = nil
    deadline = nil
  }

  private var number: CInt? { listener?.pollNumber() }

  func ready(now: Int) {
    if let due = deadline {
      guard due <= now else { return }
      resume()
    }
    // Some at a time: sessions that are there come first.
    for _ in 0..<32 where watch != nil {
      let now = Clock.now()
      switch listener?.take() ?? .wouldBlock {
      case .connection(let connection): daemon.accept(connection, now: now)
      case .wouldBlock: return
      case .vanished: continue
      case .failed(let error): return failed(error, now: now)
      }
    }
  }

  /// Nobody can be accepted. For want of descriptors the next one gets the one that was kept in reserve, and a 421.
  private func failed(_ error: SystemError, now: Int) {
    daemon.acceptWarning.note("\(address): \(error): clients are sent away or wait, trying again in a second", now: now)
    if error.code == EMFILE || error.code == ENFILE, daemon.spare.lend() {
      if case .connection(let connection) = listener?.take() ?? .wouldBlock {
        daemon.refuse(connection, usingSpare: true, now: now)
      } else {
        daemon.spare.take()
      }
    }
    pause(now: now)
  }

  /// Whoever comes waits in the kernel's queue for a second.
  private func pause(now: Int) {
    deadline = now + 1000
    listen(false)
    daemon.timers.schedule(self)
  }

  /// There may be descriptors again.
  func resume() {
    deadline = nil
    listen(daemon.isListening)
  }
}

/// A descriptor for the client that comes when there is none left.
struct SpareDescriptor: ~Copyable {
  private var descriptor: Descriptor?

  init() {
    take()
  }

  /// Frees the number for the next accept; false when it is in use already.
  mutating func lend() -> Bool {
    guard descriptor != nil else { return false }
    descriptor = nil
    return true
  }

  /// Takes it back. When that fails there is none until the next time.
  mutating func take() {
    guard descriptor == nil, let number = try? Kernel.open("/dev/null", O_RDONLY) else { return }
    descriptor = Descriptor(adopting: number)
  }
}

extension Listener {
  // Mutating in form only: an Optional of a noncopyable value lends its payload to nothing else.
  fileprivate mutating func take() -> Accepted { accept() }
  fileprivate mutating func pollNumber() -> CInt { descriptor.number }
}
