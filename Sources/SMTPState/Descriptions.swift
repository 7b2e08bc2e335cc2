// Descriptions: commands and steps as text, for logs and test failures. Embedded builds do not have them.
//
// Contract: no octet that a peer sent is part of a description, so it may be logged unchanged.

#if !hasFeature(Embedded)
  extension SMTPSession.Command: CustomStringConvertible {
    /// The command's name and what it concerns. A reply is given with its text.
    public var description: String {
      switch self {
      case .keep: "keep"
      case .drop(let hold): "drop \(hold.name)"
      case .forward(let verb): "forward \(verb.name)"
      case .pass(let separator): "pass, separator \(separator)"
      case .stash: "stash"
      case .passEarlier(let separator): "pass earlier, separator \(separator)"
      case .reply(let reply): "reply \(String(decoding: reply.octets.dropLast(2), as: UTF8.self))"
      case .resetServer: "reset server"
      case .peek(let party): "peek \(party.name)"
      case .endServer: "end server"
      case .restart: "restart"
      case .handoff: "handoff"
      case .abort(let reason): "abort \(reason.name)"
      case .relay: "relay"
      case .close(let reason): "close \(reason.name)"
      }
    }
  }

  extension SMTPSession.Step: CustomStringConvertible {
    /// The command, and how many octets were consumed.
    public var description: String { "\(command), \(consumed) consumed" }
  }
#endif
