// Policy: every choice and every limit of a session, each with its reason.
//
// Contract: a plain value. A session copies what it needs into `Limits` when it is made.
// Failure: a limit that is out of range is brought into range; nothing traps.

extension SMTPSession {
  /// Settings and limits of a session. A plain value: change what differs from the defaults, then create sessions.
  ///
  /// A limit that is out of range is brought into range when a session is created. No limit is ever 0.
  public struct Policy: Equatable, Sendable {
    /// Whether mail is accepted without TLS.
    public enum Security: UInt8, Equatable, Sendable {
      /// TLS for clients that request it. RFC 3207, 4 allows only this choice for a publicly referenced server on port 25.
      case opportunistic
      /// Before TLS every command except EHLO, NOOP, STARTTLS and QUIT is answered 530. For submission and private peers.
      case required
    }

    /// The protocol that the server speaks.
    public enum MailProtocol: UInt8, Equatable, Sendable {
      /// RFC 5321: EHLO and HELO.
      case smtp
      /// RFC 2033: LHLO in place of EHLO and HELO.
      case lmtp
    }

    /// How the server returns to its initial state before TLS (RFC 3207, 4.2).
    public enum ServerReset: UInt8, Equatable, Sendable {
      /// A new server replaces it: a new child process or a new connection. Nothing that was sent in clear survives.
      case restart
      /// The server is sent RSET. For a server that cannot be replaced, as under UCSPI-TLS. The EHLO name of the clear phase
      /// survives RSET, so inside TLS no command that could use it is forwarded before a new EHLO or HELO was accepted.
      case rset
    }

    /// How a client line that ends with a bare LF is treated.
    ///
    /// The session forwards commands with CRLF, but only until MAIL: after that it relays octets unchanged. A client that never
    /// sends CR would pass EHLO and MAIL, and then a server that requires CRLF would wait for it until a timeout. Therefore the
    /// default is to refuse such a client at its first line (RFC 5321, 2.3.8).
    public enum BareLineFeed: UInt8, Equatable, Sendable {
      /// It is accepted and forwarded with CRLF. Only for a server that itself accepts bare LF, in message text as well.
      case tolerate
      /// It is malformed (500 5.5.2).
      case reject
    }

    /// Whether mail is accepted without TLS.
    public var security: Security = .opportunistic
    /// The protocol that the server speaks.
    public var mailProtocol: MailProtocol = .smtp
    /// How the server returns to its initial state after STARTTLS.
    public var serverReset: ServerReset = .restart
    /// How a client line that ends with a bare LF is treated.
    public var bareLineFeed: BareLineFeed = .reject
    /// Whether AUTH is listed and forwarded in clear. It has an effect only where `security` is opportunistic.
    public var allowsCleartextAuthentication = false

    /// Maximum length of a client's line in octets, including CRLF. RFC 5321, 4.5.3.1.4 requires 512. With the parameters SIZE,
    /// BODY, SMTPUTF8, DSN and AUTH a MAIL command has less than 2,048.
    public var commandLineLimit = 2_048
    /// Maximum length of a line of a SASL exchange in octets, including CRLF, and of AUTH with an initial response (RFC 4954, 4).
    /// Kerberos and OAuth tokens are that long. For AUTH the larger of this limit and `commandLineLimit` applies.
    public var responseLineLimit = 12_288
    /// Maximum length of a reply line in octets, including CRLF. RFC 5321, 4.5.3.1.5 requires 512.
    public var replyLineLimit = 2_048
    /// Maximum number of lines of one reply. A long reply to HELP has about fifty.
    public var replyLinesLimit = 128
    /// Maximum number of outstanding replies. When it is reached the client is not read. At most 255.
    public var outstandingLimit = 64
    /// Maximum number of junk lines (answered 500 or 502); one more closes the session, since no mail client sends that many.
    /// Inside TLS every line that the session answers itself counts, since neither `commandLimit` nor the server limits them
    /// there. At most 255.
    public var junkLimit = 10
    /// Maximum number of commands before TLS or MAIL, however they are answered; one more closes the session. The default
    /// leaves room for a pipeline of MAIL and many RCPT that is answered 530.
    public var commandLimit = 100
    /// Maximum size of a chunk that is skipped, in octets. Clients send the chunk without waiting for a reply to BDAT (RFC 3030).
    public var chunkLimit = 65_536

    // Timeouts in milliseconds. The session has no clock: the caller runs the kind of timer that `SMTPSession.deadline` names.

    /// Timeout for the server's greeting, from the start or a restart. A client waits 5 minutes (RFC 5321, 4.5.3.2.1).
    public var greetingTimeoutMilliseconds = 60_000
    /// Timeout for a complete command. RFC 5321, 4.5.3.2.7 requires at least 5 minutes.
    public var commandTimeoutMilliseconds = 300_000
    /// Timeout for a complete reply of the server. Clients wait 5 minutes for one.
    public var replyTimeoutMilliseconds = 300_000
    /// Timeout for the answer to the session's RSET. It is short because the client waits for its 220.
    public var resetTimeoutMilliseconds = 30_000
    /// Timeout from the 220 to the end of the handshake.
    public var handshakeTimeoutMilliseconds = 30_000
    /// Timeout for the whole clear-text phase. It also ends a client that sends single commands slowly.
    public var clearPhaseTimeoutMilliseconds = 600_000

    /// The defaults: for a public server on port 25 that can be restarted.
    public init() {}

    /// The length of a timer in milliseconds. It is a plain number instead of a `Duration`, since the core builds as Embedded
    /// Swift and the C library has the same policy.
    public func milliseconds(of deadline: Deadline) -> Int {
      switch deadline {
      case .greeting: greetingTimeoutMilliseconds
      case .command: commandTimeoutMilliseconds
      case .reply: replyTimeoutMilliseconds
      case .reset: resetTimeoutMilliseconds
      case .handshake: handshakeTimeoutMilliseconds
      case .clearPhase: clearPhaseTimeoutMilliseconds
      }
    }

    /// The maximum number of octets in the hold `client`.
    public var clientHoldCapacity: Int { Int(max(Limits(self).commandLine, Limits(self).responseLine)) }
    /// The maximum number of octets in each of the holds `reply` and `earlier`.
    public var replyHoldCapacity: Int { Int(Limits(self).replyLine) }
  }
}

/// The part of a policy that a session keeps: the choices, and the limits other than timeouts, brought into range.
struct Limits: Equatable, Sendable {
  let chunk: UInt32
  let commandLine: UInt16
  let responseLine: UInt16
  let replyLine: UInt16
  let replyLines: UInt16
  let commands: UInt16
  let outstanding: UInt8
  let junk: UInt8

  /// One bit for each choice.
  private let choices: UInt8

  var requiresTLS: Bool { has(.requiresTLS) }
  var isLMTP: Bool { has(.isLMTP) }
  var restarts: Bool { has(.restarts) }
  var rejectsBareLineFeed: Bool { has(.rejectsBareLineFeed) }
  var allowsAuthentication: Bool { has(.allowsAuthentication) }

  private enum Choice: UInt8 {
    case requiresTLS, isLMTP, restarts, rejectsBareLineFeed, allowsAuthentication

    /// The bit of this choice if it was made, else 0.
    func bit(_ isMade: Bool) -> UInt8 { isMade ? 1 << rawValue : 0 }
  }

  private func has(_ choice: Choice) -> Bool { choices & choice.bit(true) != 0 }

  init(_ policy: Policy) {
    commandLine = UInt16(clamping: max(1, policy.commandLineLimit))
    responseLine = UInt16(clamping: max(1, policy.responseLineLimit))
    replyLine = UInt16(clamping: max(1, policy.replyLineLimit))
    replyLines = UInt16(clamping: max(1, policy.replyLinesLimit))
    commands = UInt16(clamping: max(1, policy.commandLimit))
    outstanding = UInt8(clamping: max(1, policy.outstandingLimit))
    junk = UInt8(clamping: max(1, policy.junkLimit))
    // One less than the maximum, so that `chunk + 1` can mean "too large".
    chunk = min(UInt32(clamping: max(1, policy.chunkLimit)), UInt32.max - 1)
    let isRequired = policy.security == .required
    choices =
      Choice.requiresTLS.bit(isRequired) | Choice.isLMTP.bit(policy.mailProtocol == .lmtp)
      | Choice.restarts.bit(policy.serverReset == .restart)
      | Choice.rejectsBareLineFeed.bit(policy.bareLineFeed == .reject)
      | Choice.allowsAuthentication.bit(policy.allowsCleartextAuthentication && !isRequired)
  }
}

#if !hasFeature(Embedded)
  extension Limits: Hashable {}
  extension Policy: Hashable {}
#endif
