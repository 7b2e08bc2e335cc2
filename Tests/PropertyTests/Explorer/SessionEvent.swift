// SessionEvent: everything that can happen to a session, as a value: the edges of the graph that the explorer walks.

@testable import SMTPState
@testable import SessionKit

enum SessionEvent: Hashable {
  case next
  /// Of the server that counts.
  case octet(Side, UInt8)
  case ended(Side)
  /// Of the server that does not: of one that was replaced, or of a new one before there is one.
  case octetOfOther(UInt8)
  case otherEnded
  case drained
  case peeked(UInt8?, ended: Bool)
  case unavailable
  case secured(HandshakeOutcome)
  case restarted(RestartOutcome)
  case expired(Deadline)
}

extension SessionEvent: CustomStringConvertible {
  var description: String {
    switch self {
    case .next: "next"
    case .octet(let side, let octet): "\(side) \(SessionEvent.spelled(octet))"
    case .ended(let side): "\(side) ended"
    case .octetOfOther(let octet): "other server \(SessionEvent.spelled(octet))"
    case .otherEnded: "other server ended"
    case .drained: "drained"
    case .peeked(nil, let ended): ended ? "peeked: ended" : "peeked: nothing"
    case .peeked(let octet?, _): "peeked: \(SessionEvent.spelled(octet))"
    case .unavailable: "unavailable"
    case .secured(let outcome): "secured \(outcome)"
    case .restarted(let outcome): "restarted \(outcome)"
    case .expired(let kind): "expired \(kind)"
    }
  }

  static func spelled(_ octet: UInt8) -> String {
    switch octet {
    case 0x0A: "LF"
    case 0x0D: "CR"
    case 0x09: "HT"
    case 0x20: "SP"
    case 0x21...0x7E: String(Unicode.Scalar(octet))
    default: "0x" + String(octet, radix: 16, uppercase: true)
    }
  }

  private static func receive(_ octet: UInt8, _ party: Party, _ session: inout SMTPSession) -> Command {
    let octets: InlineArray<1, UInt8> = [octet]
    return session.receive(octets.span, from: party).command
  }

  /// Lets it happen.
  func apply(to session: inout SMTPSession) -> Command {
    switch self {
    case .next: session.nextCommand()
    case .octet(let side, let octet): SessionEvent.receive(octet, side.party(in: session), &session)
    case .ended(let side): session.inputEnded(from: side.party(in: session))
    case .octetOfOther(let octet): SessionEvent.receive(octet, session.otherServer, &session)
    case .otherEnded: session.inputEnded(from: session.otherServer)
    case .drained: session.outputDrained()
    case .peeked(let octet, let ended): session.peeked(octet, ended: ended)
    case .unavailable: session.tlsUnavailable()
    case .secured(let outcome): session.handshakeFinished(outcome)
    case .restarted(let outcome): session.serverRestarted(outcome)
    case .expired(let kind): session.timerExpired(kind)
    }
  }
}

extension Command {
  /// Whether it shows nothing and changes nothing but holds.
  var isSilent: Bool {
    switch self {
    case .keep, .drop: true
    default: false
    }
  }
}

extension Side {
  /// What this side is called now.
  func party(in session: SMTPSession) -> Party {
    switch self {
    case .client: .client
    case .server: session.hasNewServer ? .newServer : .server
    }
  }
}

extension SMTPSession {
  /// The server that does not count.
  var otherServer: Party { hasNewServer ? .server : .newServer }
}
