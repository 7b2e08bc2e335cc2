// RelayFinding: what a probe found out about a server program, and the sentence for it.
//
// The texts hold replies of the program; octets that a log cannot bear are escaped.

/// What a server program does with mail from a stranger to a stranger.
package enum RelayFinding: Hashable, Sendable {
  /// It refuses such a recipient, with this reply.
  case refuses(reply: String)
  /// It accepts such a recipient: whoever reaches it can send mail to anybody.
  case accepts(command: String, reply: String)
  /// It defers such a recipient (4yz), as a server that greylists does: nothing is proved.
  case defers(reply: String)
  /// It refuses both senders, so that no recipient could be tried.
  case untried(reply: String)
  /// It does not work as an SMTP server: what happened.
  case broken(String)

  /// What to do about a program that accepts such a recipient.
  package static func remedy(for program: KnownProgram?) -> String {
    switch program {
    case .exim:
      "exim trusts whoever is not a TCP socket; pass it the client's address: sh -c 'exec exim4 -oMa \"$TCPREMOTEIP\" -bs'"
    case .sendmail:
      "it is for local users and cannot be given the client's address; run another program"
    case nil:
      "have it judge the client by TCPREMOTEIP in its environment, or restrict the domains that it accepts mail for"
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
