// RelayFinding: the result of a probe of a server program, and its text.
//
// The texts contain replies of the program; octets that are unsafe in a log are escaped.

/// How a server program treats mail from an unknown client to another domain.
package enum RelayFinding: Hashable, Sendable {
  /// It refuses such a recipient, with this reply.
  case refuses(reply: String)
  /// It accepts such a recipient: anyone who can reach it can send mail to anyone.
  case accepts(command: String, reply: String)
  /// It defers such a recipient (4yz), as a server with greylisting does: the result is not conclusive.
  case defers(reply: String)
  /// It refuses both senders, so that no recipient could be tried.
  case untried(reply: String)
  /// It does not work as an SMTP server; the text gives the reason.
  case broken(String)

  /// What the operator can do about a program that accepts such a recipient.
  package static func remedy(for program: KnownProgram?) -> String {
    switch program {
    case .exim:
      "exim trusts a peer that is not a TCP socket; pass it the client's address: sh -c 'exec exim4 -oMa \"$TCPREMOTEIP\" -bs'"
    case .sendmail:
      "it is for local users and does not accept the client's address; run another program"
    case nil:
      "configure it to check the client by TCPREMOTEIP in its environment, or restrict the domains that it accepts mail for"
    }
  }
}

extension RelayFinding: CustomStringConvertible {
  package var description: String {
    switch self {
    case .refuses(let reply): "refuses mail to other domains: \(reply)"
    case .accepts(let command, let reply): "is an open relay: it accepts mail to any domain from anybody (\(command): \(reply))"
    case .defers(let reply): "defers mail to other domains (\(reply)), so it is not proved that it is no open relay"
    case .untried(let reply): "refuses every sender (\(reply)), so it is not proved that it is no open relay"
    case .broken(let what): "does not work: it \(what)"
    }
  }
}
