// Reason: why STARTTLS was abandoned, or why a session closes.

extension SMTPSession {
  /// Why STARTTLS can no longer be requested (`Command.abort`), and why a session closes (`Command.close`).
  /// If a session closes before the decision, abort and close have the same reason.
  public enum Reason: UInt8, Equatable, Sendable {
    /// MAIL was received in clear. This is the only reason after which the session does not close: it relays.
    case mail
    /// The client sent QUIT.
    case quit
    /// The client ended its input, and all its complete lines were processed.
    case clientEnded
    /// The server ended its input, or could not be started.
    case serverEnded
    /// The server sent 421: it closes, and the session closes too.
    case serverRefused
    /// The server sent octets that are not an SMTP reply, or a reply with two codes, too many lines or too long a line.
    case serverGarbage
    /// The server sent a reply that no command asked for.
    case serverUnasked
    /// The server did not send its greeting in time.
    case greetingTimeout
    /// The client did not send a complete command in time.
    case commandTimeout
    /// The server did not send a complete reply in time.
    case replyTimeout
    /// The server did not answer the session's RSET in time, or a peek was not answered in time.
    case resetTimeout
    /// The TLS handshake did not end in time.
    case handshakeTimeout
    /// The whole clear-text phase took too long.
    case clearPhaseTimeout
    /// The client sent plain text after STARTTLS.
    case injectedPlaintext
    /// The TLS handshake failed.
    case tlsFailed
    /// After the handshake there was no new server, or it did not send a 220 greeting.
    case restartFailed
    /// The client sent more junk, or more commands before TLS, than the policy allows.
    case tooManyCommands
    /// The client sent HTTP or a TLS record to an SMTP port.
    case wrongProtocol
    /// The client sent a chunk (BDAT) that is larger than the limit for chunks that are skipped.
    case chunkTooLarge
    /// The client sent a chunk whose size cannot be read, so that its end is unknown.
    case badChunk
    /// The client sent a SASL response that cannot be forwarded, while the server waits for one.
    case badResponse
    /// The caller broke the contract: octets after the client ended, an answer that no command asked for, an event while
    /// `interest` was `.again`, or a new server before `serverRestarted`.
    case misuse

    /// A name for the log: the name of the case in separate words.
    public var name: StaticString {
      switch self {
      case .mail: "mail"
      case .quit: "quit"
      case .clientEnded: "client ended"
      case .serverEnded: "server ended"
      case .serverRefused: "server refused"
      case .serverGarbage: "server garbage"
      case .serverUnasked: "server unasked"
      case .greetingTimeout: "greeting timeout"
      case .commandTimeout: "command timeout"
      case .replyTimeout: "reply timeout"
      case .resetTimeout: "reset timeout"
      case .handshakeTimeout: "handshake timeout"
      case .clearPhaseTimeout: "clear phase timeout"
      case .injectedPlaintext: "injected plaintext"
      case .tlsFailed: "tls failed"
      case .restartFailed: "restart failed"
      case .tooManyCommands: "too many commands"
      case .wrongProtocol: "wrong protocol"
      case .chunkTooLarge: "chunk too large"
      case .badChunk: "bad chunk"
      case .badResponse: "bad response"
      case .misuse: "misuse"
      }
    }
  }
}

#if !hasFeature(Embedded)
  extension Reason: CaseIterable {}
#endif
