// Command: what the session tells its caller to do. One command is one effect.
//
// The caller keeps three holds, each empty at first: `client` (at most one line of the client), `reply` and `earlier`
// (at most one line of the server each). The octets that a step consumed join the hold of their side *before* the
// step's command is carried out; those that come with `drop` need not be stored at all, and may be more than a hold
// takes. No command carries a length: the caller never searches, counts or edits octets but for the two exact rules of
// `forward` and of `pass`.

extension SMTPSession {
  /// Whose octets, or whose end, an event is about.
  ///
  /// A restart replaces the server, and an event loop may report the end of the old connection after the new one is there.
  /// So the two have different names, and a late report can do no harm.
  public enum Party: UInt8, Equatable, Sendable {
    /// Whoever connected and speaks first after the greeting.
    case client
    /// The server without TLS that is there from the start, or the part of the caller that serves. After a restart nothing
    /// of it counts: its octets are not consumed, and its end changes nothing, however late either is reported.
    case server
    /// The server that `restart` brought. It cannot be named before `SMTPSession.serverRestarted` has reported it: that is misuse.
    case newServer
  }

  /// The holds that `Command.drop` names.
  public enum Hold: UInt8, Equatable, Sendable {
    /// Octets of the client.
    case client
    /// Octets of the server.
    case reply
  }

  /// What one call of `SMTPSession.receive` came to.
  public struct Step: Equatable, Sendable {
    /// How many of the octets given are consumed; they join their side's hold before `command` is carried out.
    /// 0 only if the span was empty, the party is not wanted, or for misuse.
    public let consumed: Int
    /// The one thing to do.
    public let command: Command

    /// A step, for those who stand in for a session in a test.
    public init(consumed: Int, command: Command) {
      self.consumed = consumed
      self.command = command
    }
  }

  /// One effect, to be carried out at once and in the order in which commands come.
  public enum Command: Equatable, Sendable {
    /// Nothing but to keep what the step brought in its hold.
    case keep
    /// Empty that hold.
    case drop(Hold)
    /// Write the held client line to the server: without its LF and a CR before it, then CRLF. Empties the hold.
    case forward(Verb)
    /// Write the held reply line to the client with its fourth octet as told, likewise ended by CRLF. Empties the hold.
    case pass(ReplySeparator)
    /// Move the held reply line to the hold `earlier`, which is empty then.
    case stash
    /// As `pass`, for the hold `earlier`.
    case passEarlier(ReplySeparator)
    /// Write this reply to the client, and empty the hold `client`.
    case reply(Reply)
    /// Write `RSET` CRLF to the server.
    case resetServer
    /// Look, without consuming it, at the next octet of the client or of `Party.server`, and answer with `Session.peeked`.
    /// A caller that cannot look says that nothing is there.
    case peek(Party)
    /// Close the connection to `Party.server`, and forget what was not yet written to it and the holds of its replies.
    case endServer
    /// Start or connect to a new server, and answer with `SMTPSession.serverRestarted`. From then on it is `Party.newServer`.
    case restart
    /// Hand the client's socket over to the TLS layer, and answer with `SMTPSession.handshakeFinished`.
    case handoff(Handoff)
    /// STARTTLS cannot come any more: send the TLS helper away. The session goes on.
    case abort(Reason)
    /// Write what is held, each side's to the other, then copy octets both ways until both have ended. Final.
    case relay
    /// Deliver what was written to the client, then close. Final.
    case close(Reason)

    /// Whether the timer of `SMTPSession.deadline` starts anew behind it: not for octets alone, so that a slow drip gains nothing.
    public var restartsTimer: Bool {
      switch self {
      case .keep, .drop: false
      default: true
      }
    }
  }

  /// The fourth octet of a reply line: what stands behind its code.
  public enum ReplySeparator: UInt8, Equatable, Sendable {
    /// As the server sent it.
    case kept
    /// `-`, another line follows. It replaces the octet, or is inserted where the line has only a code.
    case hyphen
    /// SP, the last line. Replaces or inserts likewise.
    case space
  }

  /// The proof that a handoff is safe. Only the session makes one, and only when nothing is outstanding, no octet beyond
  /// the accepted STARTTLS line is consumed, the server is on its way back to its first state, and all that was to be
  /// said in clear, the 220 included, is with the kernel.
  public struct Handoff: Equatable, Sendable {
    init() {}
  }

  /// What a session waits for. Maps one to one to poll.
  public enum Interest: UInt8, Equatable, Sendable {
    /// Octets of the server. Its reply is owed, or a command waits for its turn.
    case server
    /// Octets of either side. There is no interest in the client alone: a server may say 421 at any time (RFC 5321, 3.8).
    case both
    /// Nothing: the last event led to more commands. Call `nextCommand()` before anything else.
    case again
    /// That every octet of all earlier commands is accepted by the kernel. Call `drained()` then.
    case drain
    /// No octets: the answer to a command (`peek`, `handoff`, `restart`), or nothing more at all.
    case nothing
  }

  /// The kinds of timer. Their lengths are the policy's.
  public enum Deadline: UInt8, Equatable, Sendable {
    /// The server's greeting.
    case greeting
    /// The client's next complete command.
    case command
    /// The server's next complete reply.
    case reply
    /// The server's answer to the session's RSET, and the looks after STARTTLS.
    case reset
    /// TLS, from the 220 on.
    case handshake
    /// The whole clear-text phase: armed once at the start, beside the kind that `deadline` names, until a decision.
    case clearPhase
  }

  /// The TLS layer's answer to `handoff`.
  public enum HandshakeOutcome: UInt8, Equatable, Sendable {
    /// The handshake is complete: octets of the client are decrypted ones from here on.
    case established
    /// It failed, or the helper is gone.
    case failed
  }

  /// The answer to `restart`.
  public enum RestartOutcome: UInt8, Equatable, Sendable {
    /// A new server is there and will greet.
    case greeting
    /// A new server is there and will not greet: it is part of the caller.
    case ready
    /// There is none.
    case failed
  }
}

#if !hasFeature(Embedded)
  extension Party: CaseIterable {}
  extension Hold: CaseIterable {}
  extension ReplySeparator: CaseIterable {}
  extension Interest: CaseIterable {}
  extension Deadline: CaseIterable {}
  extension HandshakeOutcome: CaseIterable {}
  extension RestartOutcome: CaseIterable {}
  extension Step: Hashable {}
  extension Command: Hashable {}
  extension Handoff: Hashable {}
#endif
