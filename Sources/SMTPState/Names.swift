// Names: what a log calls the values of the interface.
//
// Contract: all names are literals. No octet that a peer sent is part of one. smtpstate.h has the same names.

extension SMTPSession.Party {
  /// A name for the log.
  public var name: StaticString {
    switch self {
    case .client: "client"
    case .server: "server"
    case .newServer: "new server"
    }
  }
}

extension SMTPSession.Hold {
  /// A name for the log.
  public var name: StaticString {
    switch self {
    case .client: "client"
    case .reply: "reply"
    }
  }
}

extension SMTPSession.Verb {
  /// A name for the log: the verb's word, or a name in small letters if it has no word.
  public var name: StaticString {
    switch self {
    case .other: "other"
    case .blank: "blank"
    case .response: "response"
    default: word
    }
  }
}

extension SMTPSession.Deadline {
  /// A name for the log.
  public var name: StaticString {
    switch self {
    case .greeting: "greeting"
    case .command: "command"
    case .reply: "reply"
    case .reset: "reset"
    case .handshake: "handshake"
    case .clearPhase: "clear phase"
    }
  }
}

extension SMTPSession.Phase {
  /// A name for the log.
  public var name: StaticString {
    switch self {
    case .greeting: "greeting"
    case .negotiating: "negotiating"
    case .peekingBeforeReset: "peeking before reset"
    case .resetting: "resetting"
    case .peekingAtServer: "peeking at server"
    case .peekingAtClient: "peeking at client"
    case .promised: "promised"
    case .handshaking: "handshaking"
    case .restarting: "restarting"
    case .regreeting: "regreeting"
    case .secured: "secured"
    case .quitting: "quitting"
    case .refusing: "refusing"
    case .relaying: "relaying"
    case .closed: "closed"
    }
  }
}
