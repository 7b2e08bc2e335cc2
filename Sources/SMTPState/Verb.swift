// Verb: the first word of a client's line, as far as it means something to the session.
//
// Words are compared without regard to case (RFC 5321, 2.4) and are ended by SP, HT or the line's end. A scanner never
// stores the word: it narrows a set of candidates octet by octet, see `Candidates`.

/// What a client's line is, judged by its first word.
public enum Verb: UInt8, Equatable, Sendable {
  // The session's own words. Their raw values are their places in a set of candidates.
  case ehlo, helo, lhlo
  case starttls
  case mail, rcpt, data, bdat
  case rset, noop, vrfy, expn, help, etrn
  case auth, quit
  case xclient, xforward
  // Methods of HTTP: a browser that was lured to this port (the cross-protocol attacks of ALPACA, 2021).
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

#if !hasFeature(Embedded)
  extension Verb: CaseIterable {}
#endif
