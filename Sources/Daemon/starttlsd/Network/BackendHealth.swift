// BackendHealth: which of several servers to try, and in which order.
//
// The servers are tried in the order of their options. One that does not answer is left out for a second, then for two, four,
// up to thirty. If all of them are left out, all are tried: a client must not be refused without an attempt.

import Logging
import Transport

final class BackendHealth {
  private static let firstPauseMilliseconds = 1_000
  private static let longestPauseMilliseconds = 30_000

  private struct Server {
    var pausedUntil = 0
    var pauseMilliseconds = 0
  }

  let addresses: [SocketAddress]
  private var servers: [Server]
  private let warnings: [RepeatedWarning]
  private let metrics: Metrics

  init(_ addresses: [SocketAddress], _ log: Logger, _ timers: Timers, _ metrics: Metrics) {
    self.addresses = addresses
    self.metrics = metrics
    warnings = addresses.map { _ in RepeatedWarning(log, timers) }
    servers = addresses.map { _ in Server() }
  }

  /// The servers to try now, by their index.
  func order(now: Int) -> [Int] {
    let ready = servers.indices.filter { servers[$0].pausedUntil <= now }
    return ready.isEmpty ? Array(servers.indices) : ready
  }

  func answered(_ index: Int) { servers[index] = Server() }

  func failed(_ index: Int, _ error: SystemError, now: Int) {
    // Several sessions may find out at the same time: that is one failure.
    if servers[index].pausedUntil <= now {
      let pause = servers[index].pauseMilliseconds
      let next = pause == 0 ? BackendHealth.firstPauseMilliseconds : min(2 * pause, BackendHealth.longestPauseMilliseconds)
      servers[index] = Server(pausedUntil: now + next, pauseMilliseconds: next)
    }
    metrics.count(.connect)
    warnings[index].note("backend \(addresses[index]): \(error)", now: now)
  }

  func flush() {
    for warning in warnings { warning.flush() }
  }
}
