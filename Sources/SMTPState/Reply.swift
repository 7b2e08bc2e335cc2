// Reply: every text that the session itself says to a client.
//
// Fixed octets, each with its enhanced status code (RFC 3463, RFC 5248). Nothing that a peer sent is ever part of one.

extension SMTPSession {
  /// One of the session's own replies, to be written to the client as it stands.
  public enum Reply: UInt8, Equatable, Sendable {
    /// The second line of a rewritten reply to EHLO that has more lines. Not a reply of its own.
    case starttlsKeyword
    /// The second and last line of a rewritten reply to EHLO. Not a reply of its own.
    case lastStarttlsKeyword
    /// The answer to STARTTLS. After it the client gets TLS or the end of the connection (RFC 3207, 4).
    case readyForTLS
    /// The answer to QUIT from a server that ended without one.
    case goodbye
    /// The server failed or spoke out of turn.
    case serverFailed
    /// The server did not come up, or did not come back.
    case serverUnavailable
    /// A timer passed: the client's, the server's, or that of the whole clear phase.
    case timedOut
    /// More junk, or more commands before TLS, than the policy allows.
    case tooManyCommands
    /// STARTTLS while the server could not be brought back to its first state; the session goes on.
    case resetFailed
    /// STARTTLS while TLS cannot be had; the session goes on.
    case tlsUnavailable
    /// A malformed line: NUL, bare CR, too long, empty, or a bare LF where the policy refuses it.
    case syntaxError
    /// EHLO or HELO in LMTP (RFC 2033, 4.1).
    case wrongGreeting
    /// A SASL response that is too long or malformed (RFC 4954, 4); the session closes.
    case badResponse
    /// A parameter where none is allowed, or a bad chunk size.
    case badParameter
    /// A verb that is not known here.
    case unknownCommand
    /// A command that must not come now.
    case badSequence
    /// Anything but what RFC 3207, 4 allows before TLS, where TLS is required.
    case tlsRequired
    /// AUTH in clear (RFC 4954, 6).
    case encryptionRequired
    /// A chunk that nobody asked for and that is larger than the policy skips; the session closes.
    case chunkTooLarge
    /// HTTP or a TLS record on an SMTP port; the session closes.
    case wrongProtocol
    /// Plain text behind STARTTLS: a command injection; the session closes.
    case injectedPlaintext

    /// The reply's octets, CRLF included.
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
      case .injectedPlaintext: "554 5.5.0 Octets behind STARTTLS not accepted, closing connection\r\n"
      }
    }
  }
}

#if !hasFeature(Embedded)
  extension Reply: CaseIterable {}
#endif
