// Policy: every choice and every bound of a session, each with its reason.

extension SMTPSession {
  /// What a session allows, offers and bears. A plain value: change what differs from the defaults, then make sessions.
  ///
  /// Bounds out of range are brought into it when a session is made: nothing traps, and no bound is ever 0.
  public struct Policy: Equatable, Sendable {
    /// Whether mail may go on without TLS.
    public enum Security: UInt8, Equatable, Sendable {
      /// TLS for whoever asks. The only choice that RFC 3207, 4 allows a server for the public on port 25.
      case opportunistic
      /// Everything but EHLO, NOOP, STARTTLS and QUIT gets 530 before TLS: for submission and private peers.
      case required
    }

    /// The protocol that the server speaks.
    public enum MailProtocol: UInt8, Equatable, Sendable {
      /// RFC 5321: EHLO and HELO.
      case smtp
      /// RFC 2033: LHLO in place of EHLO and HELO.
      case lmtp
    }

    /// How the server comes back to its first state before TLS (RFC 3207, 4.2).
    public enum ServerReset: UInt8, Equatable, Sendable {
      /// A new one: a child started anew, a new connection. Nothing that was said in clear survives.
      case restart
      /// RSET, where the server cannot be replaced, as under UCSPI-TLS. The EHLO name of the clear phase survives that, so
      /// inside TLS nothing that could use it is forwarded before a new EHLO or HELO was accepted.
      case rset
    }

    /// What a line of the client that ends with a bare LF is.
    ///
    /// The session forwards commands with CRLF, but only until MAIL: then it relays octet for octet. A client that never
    /// sends CR would get through EHLO and MAIL, and then a server that wants CRLF would wait for it until a time-out. So
    /// the default refuses such a client at its first line (RFC 5321, 2.3.8).
    public enum BareLineFeed: UInt8, Equatable, Sendable {
      /// A line, forwarded with CRLF. Only where the server itself accepts bare LF, in message text as well.
      case tolerate
      /// A malformed line (500 5.5.2).
      case reject
    }

    /// Whether mail may go on without TLS.
    public var security: Security = .opportunistic
    /// The protocol that the server speaks.
    public var mailProtocol: MailProtocol = .smtp
    /// How the server comes back to its first state behind STARTTLS.
    public var serverReset: ServerReset = .restart
    /// What a line of the client that ends with a bare LF is.
    public var bareLineFeed: BareLineFeed = .reject
    /// Whether AUTH is offered and forwarded in clear. Only where `security` is opportunistic.
    public var allowsCleartextAuthentication = false

    /// Octets of a client's line, CRLF included. RFC 5321, 4.5.3.1.4 wants 512; MAIL grows by SIZE, BODY, SMTPUTF8, DSN and AUTH
    /// to less than 2,048.
    public var commandLineLimit = 2_048
    /// Octets of one line of a SASL exchange, CRLF included, and of AUTH with an initial response (RFC 4954, 4): tokens of
    /// Kerberos and OAuth are that long. AUTH may always have `commandLineLimit` octets.
    public var responseLineLimit = 12_288
    /// Octets of one line of the server, CRLF included. RFC 5321, 4.5.3.1.5 wants 512.
    public var replyLineLimit = 2_048
    /// Lines of one reply. A long HELP has some fifty.
    public var replyLinesLimit = 128
    /// Commands forwarded whose replies are owed; then the client is no longer read. At most 255.
    public var outstandingLimit = 64
    /// Lines answered 500 or 502 before the session closes: more is not a mail client. Inside TLS every line that the
    /// session answers itself counts, since neither `commandLimit` nor the server bounds them there. At most 255.
    public var junkLimit = 10
    /// Commands before TLS or MAIL before the session closes, however they are answered. It leaves room for a pipeline of
    /// MAIL and many RCPT that is answered 530.
    public var commandLimit = 100
    /// Octets of a chunk that nobody asked for and that is skipped (RFC 3030: its octets come without waiting).
    public var chunkLimit = 65_536

    // Timers, in milliseconds. The session has no clock: the caller runs the kind that `SMTPSession.deadline` names.

    /// From the start, or from a restart, to the server's greeting. A client waits 5 minutes (RFC 5321, 4.5.3.2.1).
    public var greetingTimeoutMilliseconds = 60_000
    /// For a complete command (RFC 5321, 4.5.3.2.7: at least 5 minutes).
    public var commandTimeoutMilliseconds = 300_000
    /// For a complete reply of the server. Clients wait 5 minutes for one.
    public var replyTimeoutMilliseconds = 300_000
    /// For the answer to the session's RSET: the client waits for its 220.
    public var resetTimeoutMilliseconds = 30_000
    /// From the 220 to the end of the handshake.
    public var handshakeTimeoutMilliseconds = 30_000
    /// For the whole clear-text phase, so that a slow drip ends too.
    public var clearPhaseTimeoutMilliseconds = 600_000

    /// The defaults: for a public server on port 25 whose processes can be started anew.
    public init() {}

    /// The length of a timer, in milliseconds. A plain number and no `Duration`, since the core has to build as Embedded Swift
    /// and its policy has to be the C library's as well.
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

    /// The largest number of octets that the hold `client` gets to hold.
    public var clientHoldCapacity: Int { Int(max(Limits(self).commandLine, Limits(self).responseLine)) }
    /// The largest number of octets that each of the holds `reply` and `earlier` gets to hold.
    public var replyHoldCapacity: Int { Int(Limits(self).replyLine) }
  }
}

/// The part of a policy that a session carries: its choices and octet limits, brought into range.
struct Limits: Equatable, Sendable {
  let chunk: UInt32
  let commandLine: UInt16
  let responseLine: UInt16
  let replyLine: UInt16
  let replyLines: UInt16
  let commands: UInt16
  let outstanding: UInt8
  let junk: UInt8

  /// A bit a choice.
  private let choices: UInt8

  var requiresTLS: Bool { has(.requiresTLS) }
  var isLMTP: Bool { has(.isLMTP) }
  var restarts: Bool { has(.restarts) }
  var rejectsBareLineFeed: Bool { has(.rejectsBareLineFeed) }
  var allowsAuthentication: Bool { has(.allowsAuthentication) }

  private enum Choice: UInt8 {
    case requiresTLS, isLMTP, restarts, rejectsBareLineFeed, allowsAuthentication

    /// Its bit, if it was made.
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
    // One below the largest, so that `chunk + 1` can stand for "too large".
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
