// SessionRecord: what happened in a session, for its one log line.

public import SMTPState

/// What a session came to. Times are `Clock` milliseconds.
public struct SessionRecord {
  /// The decision and, for abort, its proof.
  public enum Decision: Hashable, Sendable {
    /// STARTTLS was accepted, and the client's connection went to the TLS layer.
    case handoff
    /// STARTTLS was abandoned, for this reason.
    case abort(SMTPSession.Reason)
    /// None: the program ended the session before the client had decided. Counts as an abort for a helper.
    case cutOff
  }

  /// How the session ended.
  public enum End: Hashable, Sendable {
    /// The session closed it.
    case closed(SMTPSession.Reason)
    /// It relayed, and both sides ended.
    case relayed
    /// It relayed, and too little moved for too long.
    case relayIdle
    /// It lasted longer than a session may.
    case sessionTimeout
    /// The client's connection broke.
    case clientLost
    /// The client did not take its output.
    case outputStalled
    /// The program stops.
    case stopped
  }

  /// The name said in the last EHLO, HELO or LHLO, as it came: to be escaped. At most 255 octets.
  public internal(set) var heloName: [UInt8] = []
  /// What was decided; nil before that.
  public internal(set) var decision: Decision?
  /// How it ended; nil before that.
  public internal(set) var end: End?
  /// What was negotiated, once TLS stands.
  public internal(set) var tls: TLSFacts?
  /// Why the TLS layer or the start of a server failed, in its words.
  public internal(set) var failure: String?
  /// Whether the server listed something in clear that was taken out: AUTH, STARTTLS, XCLIENT, XFORWARD or REQUIRETLS.
  public internal(set) var tookOutKeywords = false
  /// Octets of the client, in clear text or decrypted.
  public internal(set) var received = 0
  /// Octets to the client, in clear text or before encryption.
  public internal(set) var sent = 0

  /// When the driver was made.
  public internal(set) var startedAt: Int
  /// When `decision` was made.
  public internal(set) var decidedAt: Int?
  /// When the handshake was complete.
  public internal(set) var securedAt: Int?
  /// When all was closed.
  public internal(set) var endedAt: Int?

  init(startedAt: Int) {
    self.startedAt = startedAt
  }

  /// Notes the name of an EHLO, HELO or LHLO line: everything behind the first blanks.
  mutating func noteHelo(_ line: borrowing ByteQueue) {
    heloName = []
    var isBehindVerb = false
    line.withFirstPiece { octets in
      for octet in octets where octet != 0x0D && octet != 0x0A && heloName.count < 255 {
        let isBlank = octet == 0x20 || octet == 0x09
        if isBehindVerb && !(isBlank && heloName.isEmpty) { heloName.append(octet) }
        isBehindVerb = isBehindVerb || isBlank
      }
    }
  }
}
