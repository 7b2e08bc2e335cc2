// Command: what the caller has to do. One command is one effect.
//
// Purpose: the types of the session's interface: parties, holds, commands, interests, timers, outcomes.
// Contract: the caller keeps three holds, empty at first: `client` (at most one line of the client), `reply` and `earlier` (at
// most one line of the server each). Append the octets that a step consumed to the hold of their side *before* carrying out the
// step's command. Octets that come with `drop` need not be stored; they may be more than the capacity of the hold. Commands carry
// no length. The caller edits octets only by the two rules at `forward` and `pass`.

extension SMTPSession {
  /// The party that an event or a command is about.
  ///
  /// A restart replaces the server, and an event loop may report the end of the old connection after the new one exists.
  /// Therefore the two have different names, and a late report changes nothing.
  public enum Party: UInt8, Equatable, Sendable {
    /// The SMTP client.
    case client
    /// The server without TLS that exists from the start, or the part of the caller that serves. After a restart its octets are
    /// not consumed and its end changes nothing, however late either is reported.
    case server
    /// The server that `restart` started. To name it before `SMTPSession.serverRestarted` has reported it is misuse.
    case newServer
  }

  /// The holds that `Command.drop` names.
  public enum Hold: UInt8, Equatable, Sendable {
    /// Octets of the client.
    case client
    /// Octets of the server.
    case reply
  }

  /// The result of one call of `SMTPSession.receive`.
  public struct Step: Equatable, Sendable {
    /// How many of the octets are consumed. Append them to their side's hold before carrying out `command`.
    /// 0 only if the span was empty, `interest` does not include the party, or for misuse.
    public let consumed: Int
    /// The command to carry out.
    public let command: Command

    /// Creates a step, for a test that replaces the session.
    public init(consumed: Int, command: Command) {
      self.consumed = consumed
      self.command = command
    }
  }

  /// One effect. Carry it out at once, and commands in the order in which they come.
  public enum Command: Equatable, Sendable {
    /// Do nothing. The octets of the step stay in their hold.
    case keep
    /// Empty that hold.
    case drop(Hold)
    /// Write the held client line to the server: remove its LF and a CR before that, append CRLF. Empties the hold.
    case forward(Verb)
    /// Write the held reply line to the client: set the fourth octet as given, end it with CRLF as `forward` does. Empties the
    /// hold.
    case pass(ReplySeparator)
    /// Move the held reply line to the hold `earlier`, which is empty at that time.
    case stash
    /// The same as `pass` for the hold `earlier`.
    case passEarlier(ReplySeparator)
    /// Write this reply to the client, and empty the hold `client`.
    case reply(Reply)
    /// Write `RSET` CRLF to the server.
    case resetServer
    /// Look at the next octet of the client or of `Party.server` without consuming it, and answer with `SMTPSession.peeked`.
    /// A caller that cannot peek answers that no octet has arrived.
    case peek(Party)
    /// Close the connection to `Party.server`. Discard what was not yet written to it, and the holds `reply` and `earlier`.
    case endServer
    /// Start a new server or connect to one, and answer with `SMTPSession.serverRestarted`. From then on it is `Party.newServer`.
    case restart
    /// Give the client's socket to the TLS layer, and answer with `SMTPSession.handshakeFinished`.
    case handoff(Handoff)
    /// STARTTLS can no longer be requested: end the TLS helper. The session continues.
    case abort(Reason)
    /// Write the octets in the holds to the other side, then copy octets both ways until both sides have ended. Final.
    case relay
    /// Deliver what was written to the client, then close. Final.
    case close(Reason)

    /// Whether the timer of `SMTPSession.deadline` starts again after this command. False for octets alone, so that a peer
    /// that sends single octets does not extend its time.
    public var restartsTimer: Bool {
      switch self {
      case .keep, .drop: false
      default: true
      }
    }
  }

  /// The fourth octet of a reply line, which follows the code.
  public enum ReplySeparator: UInt8, Equatable, Sendable {
    /// As the server sent it.
    case kept
    /// `-`: another line follows. It replaces the octet, or is inserted where the line has only a code.
    case hyphen
    /// SP: the last line. It replaces the octet, or is inserted where the line has only a code.
    case space
  }

  /// The proof that a handoff is safe. Only the session creates one, and only if: no reply is outstanding; no octet after the
  /// STARTTLS line is consumed; the server was reset or will be replaced; and the kernel has accepted everything that is sent
  /// in clear, including the 220.
  public struct Handoff: Equatable, Sendable {
    init() {}
  }

  /// What a session waits for. The cases map one to one to poll(2).
  public enum Interest: UInt8, Equatable, Sendable {
    /// Octets of the server. A reply of it is pending, or an unasked line has begun.
    case server
    /// Octets of either side. There is no interest in the client alone: a server may send 421 at any time (RFC 5321, 3.8).
    case both
    /// The last event led to more commands. Call `nextCommand()` before anything else.
    case again
    /// Until the kernel has accepted every octet of all earlier commands. Then call `outputDrained()`.
    case drain
    /// No octets. The session waits for the answer to a command (`peek`, `handoff`, `restart`), or is final.
    case nothing
  }

  /// The kinds of timer. The policy has their lengths.
  public enum Deadline: UInt8, Equatable, Sendable {
    /// Until the server's greeting.
    case greeting
    /// Until the client's next complete command.
    case command
    /// Until the server's next complete reply.
    case reply
    /// Until the server's answer to the session's RSET, and for the peeks after STARTTLS.
    case reset
    /// From the 220 to the end of the TLS handshake.
    case handshake
    /// The whole clear-text phase: from the start to the decision, in parallel to the kind that `deadline` names. Start it once.
    case clearPhase
  }

  /// The TLS layer's answer to `handoff`.
  public enum HandshakeOutcome: UInt8, Equatable, Sendable {
    /// The handshake is complete: from here on the client's octets are the decrypted ones.
    case established
    /// The handshake failed, or the TLS helper has ended.
    case failed
  }

  /// The answer to `restart`.
  public enum RestartOutcome: UInt8, Equatable, Sendable {
    /// There is a new server, and it will send a greeting.
    case greeting
    /// There is a new server, which is part of the caller and sends no greeting.
    case ready
    /// There is no new server.
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
