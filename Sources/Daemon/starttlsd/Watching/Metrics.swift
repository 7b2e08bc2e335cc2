// Metrics: what has happened since the start, in counts, for a monitoring system.
//
// All labels are words of this program or names of the TLS library: their number is limited, and nothing that a peer sent is one of
// them.

import ClientAccess
import Glibc
import Transport

final class Metrics {
  /// The counters, with their names without the prefix.
  enum Counter: String, CaseIterable {
    case connections
    case decisions
    case sessionEnds = "session_ends"
    case handshakes
    case handshakeFailures = "handshake_failures"
    case received = "received_bytes"
    case sent = "sent_bytes"
    case refusals
    case backendFailures = "backend_failures"
    case startsSaved = "backend_starts_saved"
    case sparesTaken = "spare_backends_taken"
    case sparesDiscarded = "spare_backends_discarded"

    var help: String {
      switch self {
      case .connections: "Connections that were accepted, including those that were refused afterwards."
      case .decisions: "Sessions that have ended, by the decision about STARTTLS and its proof."
      case .sessionEnds: "Sessions that have ended, by how."
      case .handshakes: "TLS handshakes that were completed, by protocol version, group and cipher suite."
      case .handshakeFailures: "TLS handshakes that failed, by the alert and who sent it."
      case .received: "Octets received from clients, in clear or decrypted."
      case .sent: "Octets sent to clients, in clear or before encryption."
      case .refusals: "Connections that were refused, by the reason."
      case .backendFailures: "Failures of the backend, by kind."
      case .startsSaved: "Starts of the server program that were not needed, because its greeting was learnt."
      case .sparesTaken: "Spare processes of the server program that a session has taken."
      case .sparesDiscarded: "Spare processes of the server program that no session has taken, by why they were given up."
      }
    }

    /// The labels, in the order of the text.
    var labels: [MetricsLabel] {
      switch self {
      case .connections, .received, .sent, .startsSaved, .sparesTaken: []
      case .decisions:
        [
          MetricsLabel("decision", ([nil] + SessionRecord.Decision.all).map(SessionLine.decision)),
          MetricsLabel("proof", ([nil] + SessionRecord.Decision.all).map { SessionLine.proof($0) ?? "" }),
        ]
      case .sessionEnds: [MetricsLabel("end", SessionRecord.End.all.map(SessionLine.end))]
      case .handshakes: [MetricsLabel("version"), MetricsLabel("group"), MetricsLabel("cipher")]
      case .handshakeFailures: [MetricsLabel("alert"), MetricsLabel("from", ["server", "client", ""])]
      case .refusals: [MetricsLabel("reason", Refusal.allCases.map(\.word))]
      case .sparesDiscarded: [MetricsLabel("reason", SpareBackends.Reason.allCases.map(\.rawValue))]
      case .backendFailures: [MetricsLabel("kind", BackendFailure.allCases.map(\.rawValue))]
      }
    }

    var unit: String? {
      switch self {
      case .received, .sent: "bytes"
      default: nil
      }
    }
  }

  /// The durations, with their names without the prefix and the unit.
  enum Duration: String, CaseIterable {
    case greeting
    case decision
    case handshake
    case session

    var help: String {
      switch self {
      case .greeting: "From the accepted connection to the greeting."
      case .decision: "From the accepted connection to the decision about STARTTLS."
      case .handshake: "From the decision to the completed TLS handshake."
      case .session: "From the accepted connection to its end."
      }
    }
  }

  /// Why a connection was refused.
  enum Refusal: Hashable, CaseIterable {
    /// The limits of all clients.
    case capacity
    case rule
    case earlyTalker
    case proxyHeader
    /// A limit of one address.
    case limit(AddressLimit)

    static let allCases = [Refusal.capacity, .rule, .earlyTalker, .proxyHeader] + AddressLimit.allCases.map(Refusal.limit)

    /// The value of the label.
    var word: String {
      switch self {
      case .capacity: "capacity"
      case .rule: "rule"
      case .earlyTalker: "early-talker"
      case .proxyHeader: "proxy-header"
      case .limit(.connections): "address-connections"
      case .limit(.backends): "address-backends"
      case .limit(.connectionsPerMinute): "address-connections-per-minute"
      case .limit(.handshakesPerMinute): "address-handshakes-per-minute"
      case .limit(.penalty): "address-penalty"
      }
    }
  }

  /// How a backend failed.
  enum BackendFailure: String, CaseIterable {
    case start, connect, exit, signal
  }

  /// The counts by their labels, in the form of the text.
  private(set) var counts: [Counter: [String: Int]] = [:]
  private(set) var durations = [Duration: Histogram](uniqueKeysWithValues: Duration.allCases.map { ($0, Histogram()) })

  func count(_ counter: Counter, _ labels: [(name: String, value: String)] = [], by number: Int = 1) {
    counts[counter, default: [:]][MetricsText.labels(labels), default: 0] += number
  }

  func count(_ refusal: Refusal) { count(.refusals, [("reason", refusal.word)]) }

  func count(_ failure: BackendFailure) { count(.backendFailures, [("kind", failure.rawValue)]) }

  /// A session has ended.
  ///
  /// - Parameter fields: those of its line in the log, whose words about TLS are labels.
  func add(_ record: SessionRecord, _ fields: [LogField]) {
    func word(_ name: String) -> String {
      switch fields.first(where: { $0.name == name })?.value {
      case .word(let text), .text(let text): text
      case .number, .milliseconds, nil: ""
      }
    }
    count(.decisions, [("decision", SessionLine.decision(record.decision)), ("proof", SessionLine.proof(record.decision) ?? "")])
    count(.sessionEnds, [("end", SessionLine.end(record.end))])
    count(.received, by: record.received)
    count(.sent, by: record.sent)
    if record.tls != nil {
      count(.handshakes, [("version", word("tls")), ("group", word("group")), ("cipher", word("cipher"))])
    } else if record.decision == .handoff || record.decision == .implicit {
      count(.handshakeFailures, [("alert", word("alert-name")), ("from", word("alert-from"))])
    }
    func observe(_ duration: Duration, from start: Int?, to end: Int?) {
      if let start, let end { durations[duration]?.observe(milliseconds: end - start) }
    }
    observe(.greeting, from: record.startedAt, to: record.greetedAt)
    observe(.decision, from: record.startedAt, to: record.decidedAt)
    observe(.handshake, from: record.decidedAt, to: record.securedAt)
    observe(.session, from: record.startedAt, to: record.endedAt)
  }
}

/// How often durations were at most of certain lengths.
struct Histogram {
  /// The upper bounds, in milliseconds.
  static let bounds = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000, 600_000]

  /// For each bound how many were at most that long, but longer than the bound before it; the last for all others.
  private(set) var counts = [Int](repeating: 0, count: Histogram.bounds.count + 1)
  private(set) var sumMilliseconds = 0

  mutating func observe(milliseconds: Int) {
    counts[Histogram.bounds.firstIndex { milliseconds <= $0 } ?? Histogram.bounds.count] += 1
    sumMilliseconds += milliseconds
  }
}
