// AddressAdmission: decides by a client's address: its access rule, and the limits of one address.
//
// A refusal is logged once, and then with a count once a minute, for each limit separately.

import ClientAccess
import Logging
import SMTPState
import Transport

final class AddressAdmission {
  private let limits: AddressLimits
  /// Follows a number in the log, if it is only the part of one worker.
  private let place: String
  private let log: Logger
  private let timers: Timers
  private let metrics: Metrics
  private var table: AddressTable
  private var warnings: [Metrics.Refusal: RepeatedWarning] = [:]
  /// nil without an access file.
  var rules: AccessRules?

  init(_ limits: AddressLimits, _ rules: AccessRules?, isPart: Bool, _ log: Logger, _ timers: Timers, _ metrics: Metrics) {
    self.limits = limits
    place = isPart ? " in this worker" : ""
    self.rules = rules
    self.log = log
    self.timers = timers
    self.metrics = metrics
    table = AddressTable(limits)
  }

  /// True if the client's rule denies it. `variables` gets what the rule sets for the program.
  func isDenied(_ client: SocketAddress, variables: inout [String], now: Int) -> Bool {
    guard let rule = rules?.rule(for: client) else { return false }
    variables = rule.variables
    guard !rule.isAllowed else { return false }
    warn(.rule, now: now, "\(SessionLine.peer(client)) gets 554 5.7.1: its access rule is deny (--access)")
    return true
  }

  /// Counts a client's session; false if a limit does not allow it.
  func admits(_ client: SocketAddress, now: Int) -> Bool {
    guard let limit = table.admit(client, now: now) else { return true }
    warn(.limit(limit), now: now, "\(SessionLine.peer(client)) gets 421 4.7.0: \(text(limit))")
    return false
  }

  private func text(_ limit: AddressLimit) -> String {
    switch limit {
    case .connections: "its address has \(limits.connections) sessions\(place) (--max-connections-per-address)"
    case .backends:
      "its address has \(limits.connections) backends without a session\(place) (--max-connections-per-address)"
    case .connectionsPerMinute:
      "its address had \(limits.connectionsPerMinute) connections in a minute\(place) (--max-connections-per-minute)"
    case .handshakesPerMinute:
      "its address had \(limits.handshakesPerMinute) handshakes in a minute\(place) (--max-handshakes-per-minute)"
    case .penalty: "its address has \(limits.penalty) penalty points\(place) (--max-penalty)"
    }
  }

  private func warn(_ refusal: Metrics.Refusal, now: Int, _ text: @autoclosure () -> String) {
    let warning = warnings[refusal] ?? RepeatedWarning(log, timers)
    warnings[refusal] = warning
    metrics.count(refusal)
    warning.note(text(), now: now)
  }

  /// Logs the counts that are pending.
  func flush() {
    for warning in warnings.values { warning.flush() }
  }

  // MARK: Events

  func isExempt(_ client: SocketAddress) -> Bool { table.isExempt(client) }

  func sessionEnded(_ client: SocketAddress, now: Int) { table.sessionEnded(client, now: now) }

  /// A backend process continues without its session.
  func backendRemains(_ client: SocketAddress, now: Int) { table.backendRemains(client, now: now) }

  func backendEnded(_ client: SocketAddress, now: Int) { table.backendEnded(client, now: now) }

  func handshakeStarted(_ client: SocketAddress, now: Int) { table.handshakeStarted(client, now: now) }

  func penalise(_ client: SocketAddress, points: Int, now: Int) { table.penalise(client, points: points, now: now) }
}

extension SessionRecord {
  /// The penalty points of a session.
  var penalty: Int {
    var points = junkLines * Penalty.junk + refusedAuthentications * Penalty.authentication
    if end == .earlyTalker { return points + Penalty.closed }
    guard case .closed(let reason) = end else { return points }
    switch reason {
    case .tlsFailed, .handshakeTimeout: points += Penalty.handshake
    case .tooManyCommands, .wrongProtocol, .injectedPlaintext, .chunkTooLarge, .badChunk, .badResponse:
      points += Penalty.closed
    case .mail, .quit, .clientEnded, .serverEnded, .serverRefused, .serverGarbage, .serverUnasked, .greetingTimeout,
      .commandTimeout, .replyTimeout, .resetTimeout, .clearPhaseTimeout, .restartFailed, .misuse:
      break
    }
    return points
  }
}
