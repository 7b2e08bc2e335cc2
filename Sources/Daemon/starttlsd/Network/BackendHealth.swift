// BackendHealth: which of several servers to try, and in which order.
//
// The servers are tried in the order of their options. One that does not greet with 220 is left out for a while, as `BackendPauses`
// says. If no other server answers, those that were left out are tried: a client must not be refused without an attempt.

import ClientAccess
import Logging
import Transport

final class BackendHealth {
  let addresses: [SocketAddress]
  private var servers: [BackendPauses]
  private let warnings: [RepeatedWarning]
  private let metrics: Metrics

  init(_ addresses: [SocketAddress], _ log: Logger, _ timers: Timers, _ metrics: Metrics) {
    self.addresses = addresses
    self.metrics = metrics
    warnings = addresses.map { _ in RepeatedWarning(log, timers) }
    servers = addresses.map { _ in BackendPauses() }
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
  func attemptBegins(_ index: Int, for client: IPNetwork?, now: Int) { servers[index].attemptBegins(for: client, now: now) }

  func attemptEnded(_ index: Int, for client: IPNetwork?) { servers[index].attemptEnded(for: client) }

  /// It has greeted with 220.
  ///
  /// - Parameter client: whose address the server learns; nil if it learns none.
  func answered(_ index: Int, for client: IPNetwork?) { servers[index].answered(client) }

  /// - Parameters:
  ///   - why: for the operator.
  ///   - isRefusal: true if it works and refuses to serve.
  ///   - client: the client, if the failure may concern that one only.
  func failed(_ index: Int, _ why: String, isRefusal: Bool, only client: IPNetwork?, now: Int) {
    servers[index].failed(isRefusal: isRefusal, only: client, now: now)
    metrics.count(.connect)
    warnings[index].note("backend \(addresses[index]): \(why)", now: now)
  }

  func flush() {
    for warning in warnings { warning.flush() }
  }
}
