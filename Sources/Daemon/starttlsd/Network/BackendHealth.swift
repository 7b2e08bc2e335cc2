// BackendHealth: which of several servers to try, and in which order.
//
// The servers are tried in the order of their options. One that does not greet with 220 is left out for a second, then for two,
// four, up to thirty. After that one session tries it again, and the others still leave it out: else all clients would wait for
// a server that does not exist any more. If no other server answers, those that were left out are tried: a client must not be
// refused without an attempt.
//
// A server that learns the client's address may fail for that client only: it limits its rate, finds it in a DNS list, or waits for
// its reverse name. A stranger must not take the server from the others that way. So such a failure leaves the server out only
// if the failure before it was that of a different client (an IPv4 address or an IPv6 network of 64 bits), and no 220 came
// between them. The client of the last failure leaves it out for itself, for a second, two, four, up to thirty. While it tries a server
// whose pause is over, the others do not leave the server out; while a different client does, they do so, for each client no longer than
// the pause that a failure would begin.
//
// A refusal leaves the server out for a second and no longer, and nobody leaves it out while one session tries it again.

import ClientAccess
import Logging
import Transport

final class BackendHealth {
  private static let firstPauseMilliseconds = 1_000
  private static let longestPauseMilliseconds = 30_000

  private struct Server {
    var pausedUntil = 0
    var pauseMilliseconds = 0
    /// True if it is left out because it works and refuses to serve.
    var isRefusal = false
    /// Sessions that try it, where it does not learn the client's address.
    var attempts = 0
    /// The client whose session tries it after a pause, and until when the others leave it out.
    var trying: IPNetwork?
    var triedUntil = 0
    /// The client of the last failure that may concern one client only; nil if a 220 came after it.
    var failing: IPNetwork?
    /// Until when that client leaves the server out, and for how long since its failure.
    var failingUntil = 0
    var failingPause = 0

    /// The length of the pause that one more failure would begin.
    var nextPause: Int {
      pauseMilliseconds == 0 ? BackendHealth.firstPauseMilliseconds : min(2 * pauseMilliseconds, BackendHealth.longestPauseMilliseconds)
    }

    func isLeftOut(for client: IPNetwork?, now: Int) -> Bool {
      if let client, failing == client, failingUntil > now { return true }
      return pauseMilliseconds > 0 && (pausedUntil > now || (!isRefusal && (attempts > 0 || triedUntil > now)))
    }

    /// One more failure that may concern this client only.
    mutating func fail(_ client: IPNetwork, isRefusal: Bool, now: Int) {
      let doubled = failing == client && !isRefusal ? 2 * failingPause : 0
      failing = client
      failingPause = min(max(doubled, BackendHealth.firstPauseMilliseconds), BackendHealth.longestPauseMilliseconds)
      failingUntil = now + failingPause
    }
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
  /// - Parameters:
  ///   - source: the address that the connection has to come from, if it is not ours: only servers of its family.
  ///   - client: whose address the servers learn; nil if they learn none.
  func order(from source: SocketAddress?, for client: IPNetwork?, now: Int) -> [Int] {
    let possible = servers.indices.filter { index in source.map { addresses[index].hasSameFamily(as: $0) } ?? true }
    let isLeftOut = { [servers] (index: Int) in servers[index].isLeftOut(for: client, now: now) }
    return possible.filter { !isLeftOut($0) } + possible.filter(isLeftOut)
  }

  /// A session begins to connect to the server, and waits for its greeting. `attemptEnded` follows, whatever comes of it.
  ///
  /// - Parameter client: whose address the server learns; nil if it learns none.
  func attemptBegins(_ index: Int, for client: IPNetwork?, now: Int) {
    guard let client else {
      servers[index].attempts += 1
      return
    }
    guard servers[index].pauseMilliseconds > 0, servers[index].pausedUntil <= now, servers[index].triedUntil <= now else { return }
    guard servers[index].failing != client, servers[index].trying != client else { return }
    servers[index].trying = client
    servers[index].triedUntil = now + servers[index].nextPause
  }

  func attemptEnded(_ index: Int, for client: IPNetwork?) {
    guard let client else {
      servers[index].attempts -= 1
      return
    }
    if servers[index].trying == client { servers[index].triedUntil = 0 }
  }

  /// It has greeted with 220.
  func answered(_ index: Int) {
    servers[index].pausedUntil = 0
    servers[index].pauseMilliseconds = 0
    servers[index].trying = nil
    servers[index].triedUntil = 0
    servers[index].failing = nil
  }

  /// - Parameters:
  ///   - why: for the operator.
  ///   - isRefusal: true if it works and refuses to serve.
  ///   - client: the client, if the failure may concern that one only.
  func failed(_ index: Int, _ why: String, isRefusal: Bool, only client: IPNetwork?, now: Int) {
    // Several sessions may find out at the same time: that is one failure.
    if servers[index].pausedUntil <= now, concernsAll(index, client) {
      let next = isRefusal ? BackendHealth.firstPauseMilliseconds : servers[index].nextPause
      servers[index].pausedUntil = now + next
      servers[index].pauseMilliseconds = next
      servers[index].isRefusal = isRefusal
      // After it any client may be the one that tries the server.
      servers[index].trying = nil
      servers[index].triedUntil = 0
    }
    if let client { servers[index].fail(client, isRefusal: isRefusal, now: now) }
    metrics.count(.connect)
    warnings[index].note("backend \(addresses[index]): \(why)", now: now)
  }

  private func concernsAll(_ index: Int, _ client: IPNetwork?) -> Bool {
    guard let client else { return true }
    return servers[index].failing.map { $0 != client } ?? false
  }

  func flush() {
    for warning in warnings { warning.flush() }
  }
}
