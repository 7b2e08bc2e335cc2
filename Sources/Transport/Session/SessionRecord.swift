// SessionRecord: what happened in a session, for its log line.

public import SMTPState

/// The result of a session. Times are `Clock` milliseconds.
public struct SessionRecord {
  /// The decision and, for abort, its reason.
  public enum Decision: Hashable, Sendable {
    /// STARTTLS was accepted, and the client's connection went to the TLS layer.
    case handoff
    /// There was nothing to decide: the session began with TLS.
    case implicit
    /// STARTTLS was abandoned, for this reason.
    case abort(SMTPSession.Reason)
    /// No decision: the program ended the session before the client had decided. For a helper this is an abort.
    case cutOff

    /// All that a session can have. These two reasons exist only after a handoff.
    package static let all: [Decision] =
      [.handoff, .implicit] + SMTPSession.Reason.allCases.filter { $0 != .tlsFailed && $0 != .restartFailed }.map(Decision.abort) + [.cutOff]
  }

  /// How the session ended.
  public enum End: Hashable, Sendable {
    /// The session closed the connection.
    case closed(SMTPSession.Reason)
    /// The session relayed, and both sides ended.
    case relayed
    /// The session relayed, and too little moved for too long.
    case relayIdle
    /// The session exceeded its maximum duration.
    case sessionTimeout
    /// The client's connection broke.
    case clientLost
    /// The client did not read its output.
    case outputStalled
    /// With TLS from the start: the client did not wait for its greeting.
    case earlyTalker
    /// The program stopped.
    case stopped

    /// All that a session can have. After MAIL it relays: that is not a reason to close.
    package static let all: [End] =
      SMTPSession.Reason.allCases.filter { $0 != .mail }.map(End.closed) + [
        .relayed, .relayIdle, .sessionTimeout, .clientLost, .outputStalled, .earlyTalker, .stopped,
      ]
  }

  /// When a client ended without a close_notify (RFC 8446, 6.1), which an attacker can also do in its name.
  public enum Truncation: Hashable, Sendable {
    /// While the server had more to send, or waited for a command: something may be missing.
    case beforeServer
    /// After the end of the server's output, as after QUIT: nothing is missing. Many clients do that.
    case afterServer
  }

  /// The name in the last EHLO, HELO or LHLO, at most 255 octets; empty if it is not one word with the form of a domain or an address
  /// literal.
  public internal(set) var heloName: [UInt8] = []
  /// When the client's octets ended inside TLS without a close_notify; nil if they did not.
  public internal(set) var truncation: Truncation?
  /// The decision; nil until it is made.
  public internal(set) var decision: Decision?
  /// How the session ended; nil until then.
  public internal(set) var end: End?
  /// The negotiated parameters; nil until TLS is established.
  public internal(set) var tls: TLSFacts?
  /// Why the TLS layer failed or a server did not start, as reported by it.
  public internal(set) var failure: String?
  /// True if a keyword that the server listed in clear was removed: AUTH, STARTTLS, XCLIENT, XFORWARD or REQUIRETLS.
  public internal(set) var tookOutKeywords = false
  /// The number of the client's lines that the session refused as junk: malformed, unknown, or out of sequence.
  public internal(set) var junkLines = 0
  /// The number of AUTH commands that were refused. While octets are copied only those with 535 count: the commands are
  /// not seen then.
  public internal(set) var refusedAuthentications = 0
  /// Octets received from the client, in clear or decrypted.
  public internal(set) var received = 0
  /// Octets sent to the client, in clear or before encryption.
  public internal(set) var sent = 0

  /// When the driver was created.
  public internal(set) var startedAt: Int
  /// When the first octets were sent to the client: the greeting, or a reply in its place.
  public internal(set) var greetedAt: Int?
  /// When `decision` was made.
  public internal(set) var decidedAt: Int?
  /// When the handshake was complete.
  public internal(set) var securedAt: Int?
  /// When everything was closed.
  public internal(set) var endedAt: Int?

  init(startedAt: Int) {
    self.startedAt = startedAt
  }

  /// Records the name in an EHLO, HELO or LHLO line. Without octets nothing changes.
  mutating func noteHelo(_ line: Span<UInt8>) {
    if !line.isEmpty { heloName = ClientName.read(line) }
  }
}
