// Totals: what has happened since the start, for the status.

import SMTPState
import Transport

struct Totals {
  private(set) var sessions = 0
  private(set) var handoffs = 0
  /// Sessions that began with TLS.
  private(set) var implicits = 0
  private(set) var aborts = 0
  /// Sessions that ended without a decision of the client.
  private(set) var undecided = 0
  private(set) var failedHandshakes = 0
  private(set) var received = 0
  private(set) var sent = 0
  /// TLS sessions by the registered name of their group. The names are the library's: there are few.
  private(set) var groups: [String: Int] = [:]
  /// Clients that got 421 in place of a greeting.
  var refusals = 0

  /// A session has ended.
  mutating func add(_ record: SessionRecord) {
    sessions += 1
    if let group = record.tls?.group { groups[group, default: 0] += 1 }
    received += record.received
    sent += record.sent
    switch record.decision {
    case .handoff:
      handoffs += 1
      if record.securedAt == nil { failedHandshakes += 1 }
    case .implicit:
      implicits += 1
      if record.securedAt == nil { failedHandshakes += 1 }
    case .abort: aborts += 1
    case .cutOff, nil: undecided += 1
    }
  }

  /// The groups and the numbers of their sessions, the most frequent first.
  var groupValues: [(name: String, value: Int)] {
    groups.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map { ($0.key, $0.value) }
  }

  /// The names and values, in the order in which they are shown.
  var values: [(name: String, value: Int)] {
    [
      ("ended", sessions), ("handoff", handoffs), ("implicit", implicits), ("abort", aborts), ("undecided", undecided),
      ("handshakes-failed", failedHandshakes), ("refused", refusals), ("in", received), ("out", sent),
    ]
  }
}
