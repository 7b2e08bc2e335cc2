// Facts: the Boolean properties of a session, one bit each, so that a session fits into 64 octets.

/// The name of one fact.
enum Fact: UInt8 {
  case isGreeted, clientEnded, serverEnded, hasNewServer, isDecided, isMidReply
}

/// The set of facts that are true.
struct Facts: Equatable, Sendable {
  private var bits: UInt8 = 0

  init() {}

  subscript(fact: Fact) -> Bool {
    get { bits & (1 << fact.rawValue) != 0 }
    set { if newValue { bits |= 1 << fact.rawValue } else { bits &= ~(1 << fact.rawValue) } }
  }
}

extension SMTPSession {
  /// EHLO (inside TLS also HELO) was accepted since the start, or since TLS began.
  var isGreeted: Bool {
    get { facts[.isGreeted] }
    set { facts[.isGreeted] = newValue }
  }
  /// The client has ended its input.
  var clientEnded: Bool {
    get { facts[.clientEnded] }
    set { facts[.clientEnded] = newValue }
  }
  /// A server that will be replaced has ended while the session peeks at the client.
  var serverEnded: Bool {
    get { facts[.serverEnded] }
    set { facts[.serverEnded] = newValue }
  }
  /// The current server is `Party.newServer`.
  var hasNewServer: Bool {
    get { facts[.hasNewServer] }
    set { facts[.hasNewServer] = newValue }
  }
  /// `handoff` or `abort` was issued.
  var isDecided: Bool {
    get { facts[.isDecided] }
    set { facts[.isDecided] = newValue }
  }
  /// Some lines of a reply were passed on, and its last line has not arrived. The session must not send a reply between them.
  package internal(set) var isMidReply: Bool {
    get { facts[.isMidReply] }
    set { facts[.isMidReply] = newValue }
  }
}

#if !hasFeature(Embedded)
  extension Facts: Hashable {}
#endif
