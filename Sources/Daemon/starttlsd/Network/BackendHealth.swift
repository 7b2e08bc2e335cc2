// BackendHealth: which of several servers to try, and in which order.
//
// The servers are tried in the order of their options. One that does not greet with 220 is left out for a second, then for two,
// four, up to thirty. After that one session tries it again, and the others still leave it out: else all clients would wait for
// a server that does not exist any more. If no other server answers, those that were left out are tried: a client must not be
// refused without an attempt.
//
// A server may refuse one client only, because of its address. So a refusal leaves it out for a second and no longer: a stranger
// who is refused must not take the server from the others.

import Logging
import Transport

final class BackendHealth {
  private static let firstPauseMilliseconds = 1_000
  private static let longestPauseMilliseconds = 30_000

  private struct Server {
    var pausedUntil = 0
    var pauseMilliseconds = 0
    /// How many sessions are trying it.
    var attempts = 0
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
    let possible = servers.indices.filter { index in source.map { addresses[index].hasSameFamily(as: $0) } ?? true }
    let isLeftOut = { [servers] (index: Int) in
      servers[index].pauseMilliseconds > 0 && (servers[index].attempts > 0 || servers[index].pausedUntil > now)
    }
    return possible.filter { !isLeftOut($0) } + possible.filter(isLeftOut)
  }

  /// A session begins to connect to the server, and waits for its greeting. `attemptEnded` follows, whatever comes of it.
  func attemptBegins(_ index: Int) { servers[index].attempts += 1 }

  func attemptEnded(_ index: Int) { servers[index].attempts -= 1 }

  /// It has greeted with 220.
  func answered(_ index: Int) {
    servers[index].pausedUntil = 0
    servers[index].pauseMilliseconds = 0
  }

  /// - Parameters:
  ///   - why: for the operator.
  ///   - isRefusal: true if it works and refuses to serve.
  func failed(_ index: Int, _ why: String, isRefusal: Bool, now: Int) {
    // Several sessions may find out at the same time: that is one failure.
    if servers[index].pausedUntil <= now {
      let pause = isRefusal ? 0 : servers[index].pauseMilliseconds
      let next = pause == 0 ? BackendHealth.firstPauseMilliseconds : min(2 * pause, BackendHealth.longestPauseMilliseconds)
      servers[index].pausedUntil = now + next
      servers[index].pauseMilliseconds = next
    }
    metrics.count(.connect)
    warnings[index].note("backend \(addresses[index]): \(why)", now: now)
  }

  func flush() {
    for warning in warnings { warning.flush() }
  }
}
