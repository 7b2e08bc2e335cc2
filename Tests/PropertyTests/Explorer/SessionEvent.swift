// SessionEvent: everything that can happen to a session, as a value: the edges of the graph that the explorer walks.

import SMTPState

enum SessionEvent: Hashable {
  case next
  case octet(Side, UInt8)
  case ended(Side)
  case drained
  case looked(UInt8?, ended: Bool)
  case unavailable
  case secured(SecuredOutcome)
  case restarted(RestartOutcome)
  case expired(Deadline)
}

extension SessionEvent: CustomStringConvertible {
  var description: String {
    switch self {
    case .next: "next"
    case .octet(let side, let octet): "\(side) \(SessionEvent.spelled(octet))"
    case .ended(let side): "\(side) ended"
    case .drained: "drained"
    case .looked(nil, let ended): ended ? "looked: ended" : "looked: nothing"
    case .looked(let octet?, _): "looked: \(SessionEvent.spelled(octet))"
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

  private static func receive(_ octet: UInt8, _ side: Side, _ session: inout Session) -> Command {
    let octets: InlineArray<1, UInt8> = [octet]
    return session.receive(octets.span, from: side).command
  }

  /// Lets it happen.
  func apply(to session: inout Session) -> Command {
    switch self {
    case .next: session.next()
    case .octet(let side, let octet): SessionEvent.receive(octet, side, &session)
    case .ended(let side): session.ended(side)
    case .drained: session.drained()
    case .looked(let octet, let ended): session.looked(octet, ended: ended)
    case .unavailable: session.unavailable()
    case .secured(let outcome): session.secured(outcome)
    case .restarted(let outcome): session.restarted(outcome)
    case .expired(let kind): session.expired(kind)
    }
  }
}
