// Verb: the first word of a client's line, as far as it means something to the session.
//
// Words are compared without regard to case (RFC 5321, 2.4) and are ended by SP, HT or the line's end. A scanner never
// stores the word: it narrows a set of candidates octet by octet, see `Candidates`.

extension SMTPSession {
  /// What a client's line is, judged by its first word.
  public enum Verb: UInt8, Equatable, Sendable {
    // The session's own words. Their raw values are their places in a set of candidates.
    /// A greeting (RFC 5321, 4.1.1.1; RFC 2033, 4.1).
    case ehlo, helo, lhlo
    /// The request for TLS (RFC 3207).
    case starttls
    /// A step of a mail transaction (RFC 5321, 3.3; RFC 3030).
    case mail, rcpt, data, bdat
    /// A command without consequence for STARTTLS (RFC 5321, 4.1.1; RFC 1985).
    case rset, noop, vrfy, expn, help, etrn
    /// AUTH (RFC 4954), or QUIT (RFC 5321, 4.1.1.10).
    case auth, quit
    /// What a trusted proxy says for a client: never forwarded while the session watches.
    case xclient, xforward
    /// A method of HTTP: a browser that was lured to this port (the cross-protocol attacks of ALPACA, 2021).
    case get, post, put, head, options, connect, delete, patch, trace

    /// Any other word.
    case other
    /// No word at all: an empty line, or one that begins with a blank.
    case blank
    /// The answer to a server's 334: not a command but one line of a SASL exchange (RFC 4954, 4). Never to be logged.
    case response

    /// The verb's spelling in capitals; empty for the last three, which have none.
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
