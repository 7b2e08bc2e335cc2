// RegisteredWatches: what a session has registered with the event loop.
//
// A change of a registration is a system call, and with each command a session stops and starts to wait for its client. So
// a side may stay registered for input that the driver does not want, as long as none is known to be there. If some
// arrives, it is reported once: after that turn the registration is exactly what the driver wants. POLLOUT is pending as a
// rule, and is never left.

import CKernel
import Glibc
import Transport

struct RegisteredWatches {
  private var client: Watch?
  private var server: Watch?

  private static let readable = CShort(POLLIN)
  private static let hangUp = CShort(KERNEL_POLLRDHUP)

  /// True for a side for which events were reported in this batch.
  func takeEvents(_ loop: EventLoop) -> (client: Bool, server: Bool) {
    (loop.takeEvents(client) != 0, loop.takeEvents(server) != 0)
  }

  /// Registers what a driver waits for after its turn.
  mutating func update(for driver: SessionDriver, _ loop: EventLoop, _ owner: any EventOwner) throws(SystemError) {
    let wanted = driver.watches
    try RegisteredWatches.update(&client, to: wanted.client, mayReport: driver.clientMayHaveInput, loop, owner)
    if driver.hasServer {
      try RegisteredWatches.update(&server, to: wanted.server, mayReport: driver.serverMayHaveInput, loop, owner)
    } else {
      forgetServer(loop)
    }
  }

  /// Changes one registration if that is necessary.
  ///
  /// - Parameter mayReport: true if there may be input, or an end, that the driver has not read.
  private static func update(
    _ old: inout Watch?, to wanted: Watch?, mayReport: Bool, _ loop: EventLoop, _ owner: any EventOwner
  ) throws(SystemError) {
    var new = wanted
    if !mayReport {
      if let old, wanted.map({ $0.descriptor == old.descriptor }) ?? true {
        let events = wanted?.events ?? 0
        // An end is reported as input too.
        let covered = old.events & readable == 0 ? old.events : old.events | hangUp
        if events & ~covered == 0, old.events & ~events & ~(readable | hangUp) == 0 { return }
      }
      // The next change is to wait for input.
      if let wanted, wanted.events == hangUp { new = Watch(descriptor: wanted.descriptor, events: readable) }
    }
    try loop.update(old, to: new, for: owner)
    old = new
  }

  /// The server's descriptor is closed, and so its registration is removed.
  mutating func forgetServer(_ loop: EventLoop) {
    if let server { loop.forget(server.descriptor) }
    server = nil
  }

  /// Both descriptors are closed.
  mutating func forget(_ loop: EventLoop) {
    if let client { loop.forget(client.descriptor) }
    client = nil
    forgetServer(loop)
  }
}
