// Reply: every text that the session itself sends to a client.
//
// Contract: fixed octets, each with its enhanced status code (RFC 3463, RFC 5248). No octet that a peer sent is part of them.

extension SMTPSession {
  /// One of the session's own replies. Write its `text` to the client unchanged.
  public enum Reply: UInt8, Equatable, Sendable {
    /// The second line of a rewritten reply to EHLO that has more lines. A part of that reply.
    case starttlsKeyword
    /// The second and last line of a rewritten reply to EHLO. A part of that reply.
    case lastStarttlsKeyword
    /// STARTTLS is accepted. After it either TLS begins or the connection ends (RFC 3207, 4).
    case readyForTLS
    /// The answer to QUIT, if the server ended without sending one.
    case goodbye
    /// The server failed, or sent garbage or an unasked reply; the session closes.
    case serverFailed
    /// The server did not start, or did not restart; the session closes.
    case serverUnavailable
    /// A timer expired: that of the client, of the server, or of the whole clear phase; the session closes.
    case timedOut
    /// The client sent more junk, or more commands before TLS, than the policy allows; the session closes.
    case tooManyCommands
    /// The answer to STARTTLS if the server refused RSET; the session continues.
    case resetFailed
    /// The answer to STARTTLS if TLS is not available; the session continues.
    case tlsUnavailable
    /// A line that is malformed (NUL, bare CR, too long, or a bare LF where the policy refuses it) or has no verb.
    case syntaxError
    /// EHLO or HELO in LMTP (RFC 2033, 4.1).
    case wrongGreeting
    /// A SASL response that is too long or malformed (RFC 4954, 4); the session closes.
    case badResponse
    /// A parameter where none is allowed; or a chunk size that cannot be read, after which the session closes.
    case badParameter
    /// A verb that the session does not accept.
    case unknownCommand
    /// A command that is not allowed in the present state.
    case badSequence
    /// Before TLS, where TLS is required: any command except those that RFC 3207, 4 allows.
    case tlsRequired
    /// AUTH in clear (RFC 4954, 6).
    case encryptionRequired
    /// A chunk that is larger than the limit for chunks that are skipped; the session closes.
    case chunkTooLarge
    /// HTTP or a TLS record on an SMTP port; the session closes.
    case wrongProtocol
    /// Plain text after STARTTLS: a command injection; the session closes.
    case injectedPlaintext

    /// The reply's octets, including CRLF.
    public var text: StaticString {
      switch self {
      case .starttlsKeyword: "250-STARTTLS\r\n"
      case .lastStarttlsKeyword: "250 STARTTLS\r\n"
      case .readyForTLS: "220 2.0.0 Ready to start TLS\r\n"
      case .goodbye: "221 2.0.0 Bye\r\n"
      case .serverFailed: "421 4.3.0 Mail server failed, closing connection\r\n"
      case .serverUnavailable: "421 4.3.2 Mail server not available, closing connection\r\n"
      case .timedOut: "421 4.4.2 Timed out, closing connection\r\n"
      case .tooManyCommands: "421 4.7.0 Too many commands, closing connection\r\n"
      case .resetFailed: "454 4.3.0 TLS not available now, mail server not ready\r\n"
      case .tlsUnavailable: "454 4.7.0 TLS not available due to temporary reason\r\n"
      case .syntaxError: "500 5.5.2 Syntax error, line not accepted\r\n"
      case .wrongGreeting: "500 5.5.1 This is LMTP, use LHLO\r\n"
      case .badResponse: "500 5.5.6 Authentication exchange line not accepted, closing connection\r\n"
      case .badParameter: "501 5.5.4 Parameter not accepted\r\n"
      case .unknownCommand: "502 5.5.1 Command not implemented\r\n"
      case .badSequence: "503 5.5.1 Bad sequence of commands\r\n"
      case .tlsRequired: "530 5.7.0 Must issue a STARTTLS command first\r\n"
      case .encryptionRequired: "538 5.7.11 Encryption required for authentication\r\n"
      case .chunkTooLarge: "552 5.3.4 Chunk too large, closing connection\r\n"
      case .wrongProtocol: "554 5.5.1 This is an SMTP port, closing connection\r\n"
      case .injectedPlaintext: "554 5.5.0 Octets after STARTTLS not accepted, closing connection\r\n"
      }
    }
  }
}

#if !hasFeature(Embedded)
  extension Reply: CaseIterable {}
#endif
