// Facts: what is true or false of a session, a bit each, so that a session stays within 64 octets.

/// One of them.
enum Fact: UInt8 {
  case isGreeted, clientEnded, serverEnded, hasNewServer, isDecided, isMidReply
}

/// The set of those that are true.
struct Facts: Equatable, Sendable {
  private var bits: UInt8 = 0

  init() {}

  subscript(fact: Fact) -> Bool {
    get { bits & (1 << fact.rawValue) != 0 }
    set { if newValue { bits |= 1 << fact.rawValue } else { bits &= ~(1 << fact.rawValue) } }
  }
}

extension SMTPSession {
  /// EHLO was accepted (inside TLS also HELO), in this phase.
  var isGreeted: Bool {
    get { facts[.isGreeted] }
    set { facts[.isGreeted] = newValue }
  }
  /// The client has ended its input.
  var clientEnded: Bool {
    get { facts[.clientEnded] }
    set { facts[.clientEnded] = newValue }
  }
  /// A server that is to be replaced has ended while the session looks at the client.
  var serverEnded: Bool {
    get { facts[.serverEnded] }
    set { facts[.serverEnded] = newValue }
  }
  /// The server that counts is `Party.newServer`.
  var hasNewServer: Bool {
    get { facts[.hasNewServer] }
    set { facts[.hasNewServer] = newValue }
  }
  /// handoff or abort was emitted.
  var isDecided: Bool {
    get { facts[.isDecided] }
    set { facts[.isDecided] = newValue }
  }
  /// Lines of a reply were passed on whose last line has not come: no text of ours may come between.
  var isMidReply: Bool {
    get { facts[.isMidReply] }
    set { facts[.isMidReply] = newValue }
  }
}

#if !hasFeature(Embedded)
  extension Facts: Hashable {}
#endif
