// Where a session is, for an operator who asks while it runs.

import SMTPState

/// Where a session is, in an operator's words.
package enum SessionStage: String, CaseIterable, Sendable {
  /// In clear, STARTTLS is still possible.
  case clear
  /// The 220 to STARTTLS was sent, or TLS is implicit; the handshake is not complete.
  case handshake
  /// Inside TLS, before the first MAIL.
  case secured
  /// Octets are copied in both directions.
  case relay
  /// All was sent; the client's end is pending.
  case closing
}

extension SessionDriver {
  /// Where the session is now.
  package var stage: SessionStage {
    switch state {
    case .securing: record.securedAt == nil ? .handshake : .secured
    case .relaying: .relay
    case .replaying: isRelayNext ? .relay : .clear
    case .lingering, .finished: .closing
    case .session:
      switch record.decision {
      case .handoff, .implicit: record.securedAt == nil ? .handshake : .secured
      case .abort, .cutOff, nil: .clear
      }
    }
  }
}
