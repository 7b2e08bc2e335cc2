// Reason: why a session was decided, or closed.

extension SMTPSession {
  /// What proved that STARTTLS cannot come any more (`Command.abort`), and why a session closes (`Command.close`).
  /// A session that closes undecided aborts with the reason that it then closes with.
  public enum Reason: UInt8, Equatable, Sendable {
    /// MAIL in clear: the one reason that closes nothing; the session relays.
    case mail
    /// QUIT.
    case quit
    /// The client ended its input, and nothing of what it had sent is left to do.
    case clientEnded
    /// The server ended its input, or could not be started.
    case serverEnded
    /// The server said 421: it closes, and so does the session.
    case serverRefused
    /// The server sent something that is no SMTP reply, or a reply with two codes, too many lines or too long a line.
    case serverGarbage
    /// The server sent a reply that no command asked for.
    case serverUnasked
    /// The server sent no greeting in time.
    case greetingTimeout
    /// The client sent no complete command in time.
    case commandTimeout
    /// The server sent no complete reply in time.
    case replyTimeout
    /// The server did not answer the session's RSET in time.
    case resetTimeout
    /// There was no TLS in time.
    case handshakeTimeout
    /// The whole clear-text phase took too long.
    case clearPhaseTimeout
    /// Plain text after STARTTLS.
    case injectedPlaintext
    /// The TLS handshake failed.
    case tlsFailed
    /// The server did not come back after the handshake.
    case restartFailed
    /// More junk, or more commands before TLS, than the policy allows.
    case tooManyCommands
    /// HTTP or a TLS record on an SMTP port.
    case wrongProtocol
    /// A chunk (BDAT) that nobody asked for, larger than the policy skips.
    case chunkTooLarge
    /// A chunk whose size cannot be read, so that its end cannot be found.
    case badChunk
    /// A SASL response that cannot be forwarded, although the server waits for one.
    case badResponse
    /// The caller broke the contract: octets after the client ended, an answer that no command asked for, an event while
    /// `interest` was `.again`, a new server before `restarted`.
    case misuse

    /// A name for the log, in the words of this enumeration.
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
