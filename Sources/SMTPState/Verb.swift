// Verb: the first word of a client's line, as far as the session distinguishes words.
//
// Contract: words are compared case-insensitively (RFC 5321, 2.4). A word ends at SP, HT or the line's end. The scanner does not
// store the word: it narrows a set of candidates octet by octet, see `Candidates`.

extension SMTPSession {
  /// The kind of a client's line, given by its first word.
  public enum Verb: UInt8, Equatable, Sendable {
    // Words of the vocabulary. Their raw values are their indices in it.
    /// A greeting (RFC 5321, 4.1.1.1; RFC 2033, 4.1).
    case ehlo, helo, lhlo
    /// The request for TLS (RFC 3207).
    case starttls
    /// A step of a mail transaction (RFC 5321, 3.3; RFC 3030).
    case mail, rcpt, data, bdat
    /// A command that has no effect on STARTTLS (RFC 5321, 4.1.1; RFC 1985).
    case rset, noop, vrfy, expn, help, etrn
    /// AUTH (RFC 4954), or QUIT (RFC 5321, 4.1.1.10).
    case auth, quit
    /// A command with which a trusted proxy describes its client. Not forwarded until the session relays.
    case xclient, xforward
    /// An HTTP method: a browser was directed to this port (the cross-protocol attacks of ALPACA, 2021).
    case get, post, put, head, options, connect, delete, patch, trace

    /// Any other word.
    case other
    /// No word: an empty line, or one that begins with a blank.
    case blank
    /// One line of a SASL exchange, the answer to a server's 334 (RFC 4954, 4). Do not log it: it may contain a password.
    case response

    /// The verb in capitals; empty for the last three, which have no word.
    public var word: StaticString {
      switch self {
      case .ehlo: "EHLO"
      case .helo: "HELO"
      case .lhlo: "LHLO"
      case .starttls: "STARTTLS"
      case .mail: "MAIL"
      case .rcpt: "RCPT"
      case .data: "DATA"
      case .bdat: "BDAT"
      case .rset: "RSET"
      case .noop: "NOOP"
      case .vrfy: "VRFY"
      case .expn: "EXPN"
      case .help: "HELP"
      case .etrn: "ETRN"
      case .auth: "AUTH"
      case .quit: "QUIT"
      case .xclient: "XCLIENT"
      case .xforward: "XFORWARD"
      case .get: "GET"
      case .post: "POST"
      case .put: "PUT"
      case .head: "HEAD"
      case .options: "OPTIONS"
      case .connect: "CONNECT"
      case .delete: "DELETE"
      case .patch: "PATCH"
      case .trace: "TRACE"
      case .other, .blank, .response: ""
      }
    }
  }
}

#if !hasFeature(Embedded)
  extension Verb: CaseIterable {}
#endif
