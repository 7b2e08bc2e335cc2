// Session, transitions: how effects become commands, and how a session begins again or ends.

extension SMTPSession {
  /// Returns the next effect as a command. After the last one it checks whether a deferred line or end can be processed.
  mutating func advance() -> Command {
    let command = takeNext()
    if agenda.isEmpty && hasUnsettled { agenda = Agenda(.settle) }
    return command
  }

  private mutating func takeNext() -> Command {
    guard let effect = agenda.takeFirst() else { return .keep }
    switch effect {
    case .abort:
      isDecided = true
      return .abort(reason)
    case .endServer: return .endServer
    case .handoff:
      isDecided = true
      return .handoff(Handoff())
    case .passEarlier:
      defer { earlierSeparator = .kept }
      return .passEarlier(earlierSeparator)
    case .stash: return .stash
    case .pass:
      defer { separator = .kept }
      return .pass(separator)
    case .dropReply: return .drop(.reply)
    case .forward:
      defer { verb = .other }
      return .forward(verb)
    case .reply:
      defer { reply = .goodbye }
      return .reply(reply)
    case .resetServer: return .resetServer
    case .list: return .reply(.starttlsKeyword)
    case .peek: return .peek(phase == .peekingAtServer ? .server : .client)
    case .restart: return .restart
    case .relay:
      hasNewServer = false
      return .relay
    case .close: return .close(reason)
    case .settle:
      settle()
      return takeNext()
    }
  }

  /// Processes the deferred command; if there is none, the client has ended, and the session closes.
  private mutating func settle() {
    if let line = waiting {
      waiting = nil
      take(line)
    } else {
      fail(.clientEnded, nil)
    }
  }

  /// Puts one of the session's own replies on the agenda.
  mutating func say(_ text: Reply) {
    reply = text
    agenda.insert(.reply)
  }

  /// Ends the session: abort, if it is undecided; the reply, unless it is nil or the client has received only a part of another
  /// reply; close.
  mutating func fail(_ why: Reason, _ text: Reply?) {
    let wasMidReply = isMidReply
    startOver()
    hasNewServer = false
    phase = .closed
    reason = why
    if !isDecided { agenda.insert(.abort) }
    if let text, !wasMidReply { say(text) }
    agenda.insert(.close)
  }

  /// Forgets everything except which server is in use: before the phase inside TLS (RFC 3207, 4.2), and before the last phases.
  mutating func startOver() {
    client = CommandScanner()
    server = ReplyScanner()
    agenda = Agenda()
    verb = .other
    reply = .goodbye
    separator = .kept
    earlierSeparator = .kept
    outstanding = 0
    pending = .any
    waiting = nil
    junk = 0
    commands = 0
    offer = .impossible
    isGreeted = false
    clientEnded = false
    serverEnded = false
    isMidReply = false
  }

  /// The caller broke the contract.
  mutating func misuse() -> Command {
    if phase == .closed || isFinal { return .keep }
    fail(.misuse, nil)
    return advance()
  }
}
