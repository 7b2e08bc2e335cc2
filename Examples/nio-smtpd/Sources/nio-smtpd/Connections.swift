// Connections: the open connections, for the limit of their number and for the shutdown.

import NIOConcurrencyHelpers
import NIOCore
import SMTPServer

/// The open connections.
final class Connections: Sendable {
  /// The connection exceeds the limit. It is closed.
  struct LimitReached: Error {}

  private let limit: Int
  private let loop: any EventLoop
  private let open = NIOLockedValueBox<[ObjectIdentifier: any Channel]>([:])

  init(limit: Int, loop: any EventLoop) {
    self.limit = limit
    self.loop = loop
  }

  func add(_ channel: any Channel) throws {
    let key = ObjectIdentifier(channel)
    try open.withLockedValue { open in
      guard open.count < limit else { throw LimitReached() }
      open[key] = channel
    }
    channel.closeFuture.whenComplete { [open] _ in
      open.withLockedValue { _ = $0.removeValue(forKey: key) }
    }
  }

  /// Asks each connection to end as soon as it has no mail transaction. Returns when all have ended or the time has
  /// passed.
  func shutDown(within time: TimeAmount) async {
    let channels = open.withLockedValue { Array($0.values) }
    for channel in channels { channel.pipeline.fireUserInboundEventTriggered(ShutdownEvent()) }
    let isOver = loop.makePromise(of: Void.self)
    // The first of the two ends the wait.
    let timer = loop.scheduleTask(in: time) { isOver.succeed() }
    EventLoopFuture.andAllComplete(channels.map(\.closeFuture), on: loop).whenComplete { _ in
      timer.cancel()
      isOver.succeed()
    }
    try? await isOver.futureResult.get()
  }
}
