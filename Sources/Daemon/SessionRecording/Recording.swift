// Recording: one session, as the machine saw it: its settings, each event, and what each event led to.

package import SMTPState
package import Transport

/// A recording of one session. It is redacted, see `Redaction`.
package struct Recording: Hashable, Sendable {
  package enum Side: Hashable, Sendable {
    case client
    case server
  }

  /// What happened to the session.
  package enum Event: Hashable, Sendable {
    case received(Side, [UInt8])
    case other(ConversationEvent)
  }

  /// What the session did.
  package enum Deed: Hashable, Sendable {
    case wrote(Side, [UInt8])
    /// A decision in words, see `SMTPConversation.Decision.words`.
    case decided(String)
  }

  package enum Content: Hashable, Sendable {
    case event(Event)
    case deed(Deed)
    /// The recording has reached its limit; the rest of the session is not in it.
    case full
    /// The session has ended in this way, as in its log line.
    case over(String)
  }

  package struct Entry: Hashable, Sendable {
    /// Milliseconds since the start of the session.
    package var time: Int
    package var content: Content
    /// The line of the file; 0 for a recording that was not read.
    package var line = 0

    package init(time: Int, _ content: Content, line: Int = 0) {
      self.time = time
      self.content = content
      self.line = line
    }
  }

  /// `starttlsd 0.2.0`
  package var program: String
  /// The session's identifier in the log.
  package var session: String
  /// When it began: `2026-11-29T01:20:30Z`.
  package var date: String
  /// The client's address, if it was to be recorded.
  package var client: String?
  package var redaction: Redaction
  package var policy: SMTPSession.Policy
  /// TLS from the start: there was nothing to decide.
  package var isImplicit = false
  package var entries: [Entry] = []

  package init(
    program: String, session: String, date: String, client: String? = nil, redaction: Redaction = Redaction(), policy: SMTPSession.Policy,
    isImplicit: Bool = false
  ) {
    self.program = program
    self.session = session
    self.date = date
    self.client = client
    self.redaction = redaction
    self.policy = policy
    self.isImplicit = isImplicit
  }

  /// The events, each with what it led to.
  package var steps: [Step] {
    var steps: [Step] = []
    for entry in entries {
      switch entry.content {
      case .event(let event): steps.append(Step(line: entry.line, event: event))
      case .deed(let deed):
        if !steps.isEmpty { steps[steps.count - 1].deeds.append(deed) }
      case .full, .over: break
      }
    }
    return steps
  }

  /// An event and what it led to.
  package struct Step: Hashable, Sendable {
    package var line: Int
    package var event: Event
    package var deeds: [Deed] = []
  }
}

extension [Recording.Deed] {
  /// The same with octets to the same side run together. Between two decisions those to the client come first: which of two
  /// outputs was appended to first cannot be seen outside.
  package var normal: [Recording.Deed] {
    var list: [Recording.Deed] = []
    var (toClient, toServer): ([UInt8], [UInt8]) = ([], [])
    func flush() {
      if !toClient.isEmpty { list.append(.wrote(.client, toClient)) }
      if !toServer.isEmpty { list.append(.wrote(.server, toServer)) }
      (toClient, toServer) = ([], [])
    }
    for deed in self {
      switch deed {
      case .wrote(.client, let octets): toClient += octets
      case .wrote(.server, let octets): toServer += octets
      case .decided:
        flush()
        list.append(deed)
      }
    }
    flush()
    return list
  }
}

extension SMTPConversation.Decision {
  /// The decision as a line of a recording and of a transcript.
  package var words: String {
    switch self {
    case .peek(let party): "peek \(party.name)"
    case .handoff: "handoff"
    case .abort(let reason): "abort \(reason.name)"
    case .endServer: "end server"
    case .restart: "restart"
    case .relay: "relay"
    case .close(let reason): "close \(reason.name)"
    }
  }
}
