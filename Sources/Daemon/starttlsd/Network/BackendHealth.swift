// BackendHealth: which of several servers to try, and in which order.
//
// The servers are tried in the order of their options. One that does not accept a connection is left out for a second, then for two,
// four, up to thirty. After that one session tries it again, and the others still leave it out: else all clients would wait for
// a server that does not exist any more. If no other server answers, those that were left out are tried: a client must not be
// refused without an attempt.

import Logging
import Transport

final class BackendHealth {
  private static let firstPauseMilliseconds = 1_000
  private static let longestPauseMilliseconds = 30_000

  private struct Server {
    var pausedUntil = 0
    var pauseMilliseconds = 0
    /// One session is trying a server that was left out.
    var isTried = false
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

  /// The servers in the order in which to try them, by their index: those that are left out come last.
  ///
  /// - Parameter source: the address that the connection has to come from, if it is not ours: only servers of its family.
  func order(from source: SocketAddress?, now: Int) -> [Int] {
    let possible = servers.indices.filter { source == nil || addresses[$0].hasSameFamily(as: source!) }
    let isLeftOut = { (index: Int) in self.servers[index].pauseMilliseconds > 0 && (self.servers[index].isTried || self.servers[index].pausedUntil > now) }
    return possible.filter { !isLeftOut($0) } + possible.filter(isLeftOut)
  }

  /// A session tries the server.
  func tries(_ index: Int) { servers[index].isTried = true }

  /// The session no longer tries it, without a result.
  func givesUp(_ index: Int) { servers[index].isTried = false }

  func answered(_ index: Int) { servers[index] = Server() }

  func failed(_ index: Int, _ error: SystemError, now: Int) {
    // Several sessions may find out at the same time: that is one failure.
    if servers[index].pausedUntil <= now {
      let pause = servers[index].pauseMilliseconds
      let next = pause == 0 ? BackendHealth.firstPauseMilliseconds : min(2 * pause, BackendHealth.longestPauseMilliseconds)
      servers[index] = Server(pausedUntil: now + next, pauseMilliseconds: next)
    }
    servers[index].isTried = false
    metrics.count(.connect)
    warnings[index].note("backend \(addresses[index]): \(error)", now: now)
  }

  func flush() {
    for warning in warnings { warning.flush() }
  }
}
