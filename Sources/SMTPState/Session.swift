// Session: decides when STARTTLS is requested, or can no longer be requested.
//
// Purpose: a small value that takes one event at a time and returns one command. It has no buffer, no clock and no descriptor.
//
// Contract: octets go in through `receive`, and a `Command` comes out. While `interest` is `.again`, `nextCommand()` returns the
// rest of what the event led to. Queue events that arrive meanwhile (a server may answer before `forward` returns); deliver them
// after the last command.
//
// Failure: three kinds, kept apart.
// - Of a peer: answered in SMTP (`reply`, or `close` with a reason). No octet of a peer can cause a trap.
// - An event that is late or repeated (`outputDrained`, `timerExpired` for a timer that is not running, a second `inputEnded`,
//   any event of a server that was replaced): changes nothing and returns `.keep`.
// - Of the caller: closes the session with the reason `misuse`. It does not trap either.
//
// THEORY OF OPERATION
//
// A session consists of three machines:
//
// - CommandScanner (`client`) turns the client's octets into one token for each line (`ClientLine`).
// - ReplyScanner (`server`) turns the server's octets into one token for each reply line (`ServerLine`), or reports garbage.
// - The control (`phase` and every other property) decides what each token leads to. It never looks at an octet, except at the
//   one that a peek returns. It is in Session+Events.swift (every event but octets), Session+Client.swift (a client's line),
//   Session+Server.swift (a server's line) and Session+Transitions.swift (commands, and what ends a session).
//
// Octets go to a scanner until it returns a token. The token goes to the control. The control moves to the next phase and puts
// effects on the agenda. Each effect leaves as one command. When the agenda is empty, the next token may come.
//
// The machines are coupled at these points only:
//
// | from           | to             | what                                                                                    |
// |----------------|----------------|-----------------------------------------------------------------------------------------|
// | control        | both scanners  | a scanner gets octets only while `interest` includes its side                           |
// | control        | CommandScanner | `inClear`: the first octet of a TLS record is recognised only in `.negotiating`         |
// | control        | CommandScanner | `expectResponse()` after a 334: the next line is no command                             |
// | control        | CommandScanner | `skipChunk(of:)` after BDAT that is not relayed: the next octets are no line            |
// | control        | ReplyScanner   | `findsKeywords`: keywords are recognised only in a reply to EHLO (`pending` is `.ehlo`) |
// | CommandScanner | control        | `isSkippingChunk`: the client is read, whatever is outstanding                          |
// | ReplyScanner   | control        | `isInsideLine` while nothing is outstanding: the line is unasked, the client must wait  |
// | control        | both scanners  | `startOver()` resets both, but a 421 keeps the place in its reply                       |
// | control        | CommandScanner | the client's end resets it: a partial line is dropped                                   |
//
// What each property means in which phase. Where a phase is not listed the property has no meaning and a fixed value (0, nil,
// false, a new scanner), so that equal futures are equal values. "Watched" is `.negotiating` and `.secured`. "The switch" is
// `.peekingBeforeReset` to `.handshaking`.
//
// | property            | phases                     | meaning there                                                    |
// |---------------------|----------------------------|------------------------------------------------------------------|
// | `limits`            | all                        | the policy, brought into range; never changes                    |
// | `client`            | watched                    | the position in the client's line, exchange line or chunk        |
// | `server`            | those that read the server | the position in the server's reply                               |
// | `outstanding`       | watched                    | how many replies the server has yet to send                      |
// |                     | others that read the server| 1: the reply that the phase waits for                            |
// | `pending`           | watched                    | which reply is pending, where that matters                       |
// | `waiting`           | watched                    | a complete line that waits until nothing is outstanding          |
// | `junk`              | watched, the switch        | how many lines were answered as junk                             |
// | `commands`          | `.negotiating`, the switch | how many command lines were received                             |
// | `offer`             | `.greeting`, `.negotiating`| how STARTTLS would be answered now. `.impossible` in all later   |
// |                     | the switch                 | phases                                                           |
// | `isGreeted`         | `.negotiating`, the switch | EHLO was accepted                                                |
// |                     | `.secured`                 | EHLO or HELO was accepted inside TLS                             |
// | `clientEnded`       | watched                    | the client has ended; its complete lines are still executed      |
// | `serverEnded`       | `.peekingAtClient`         | the server that will be replaced has ended                       |
// | `hasNewServer`      | after a restart            | the server is `Party.newServer`; false in the final phases       |
// | `isDecided`         | all                        | `handoff` or `abort` was issued; stays true                      |
// | `isMidReply`        | those that pass replies on | the client has received a part of a reply                        |
// | `reason`            | `.quitting`, `.refusing`,  | the reason of `abort` and `close`. No meaning in a relay that    |
// |                     | `.relaying`, `.closed`     | began inside TLS                                                 |
// | `agenda`            | all                        | the effects not fetched yet; `interest` is `.again` until empty  |
// | `verb`              | while the effect is pending| the parameter of the effect `forward`                            |
// | `reply`             | while the effect is pending| the parameter of the effect `reply`                              |
// | `separator`         | while the effect is pending| the parameter of the effect `pass`                               |
// | `earlierSeparator`  | while the effect is pending| the parameter of the effect `passEarlier`                        |
//
// The counts of the switch are kept because the session returns to `.negotiating` when STARTTLS is answered 454.

/// One SMTP session between a client and a server that has no TLS. It decides when STARTTLS is requested (`handoff`) or
/// provably abandoned (`abort`), and what is sent to each side until then.
///
/// A session is a value: a copy is independent. Two equal sessions answer equal events equally.
///
/// ```swift
/// var session = SMTPSession(SMTPSession.Policy())
/// let step = session.receive(octets.span, from: .client)
/// // append octets[..<step.consumed] to the client's hold, carry out step.command, then:
/// while session.interest == .again { carryOut(session.nextCommand()) }
/// ```
public struct SMTPSession: Equatable, Sendable {
  // 64 octets. The order of the properties matters: those larger than one octet are placed where no padding is needed.
  let limits: Limits
  /// The number of replies that the server has yet to send, including its greeting and the answer to the session's RSET.
  /// Counting them keeps the replies in order without a queue.
  var outstanding: UInt8 = 1
  /// Which reply is pending, where that matters. Then it is the only outstanding one, and the client is not read.
  var pending = Pending.any
  /// The number of lines answered as junk.
  var junk: UInt8 = 0
  var client = CommandScanner()
  /// The current phase.
  public internal(set) var phase = Phase.greeting
  var server = ReplyScanner()
  /// Why STARTTLS was abandoned, or why the session closes.
  var reason = Reason.misuse
  /// The number of command lines before TLS.
  var commands: UInt16 = 0

  /// The effects of the last event that are not fetched yet. The next four properties are their parameters.
  var agenda = Agenda()
  var verb = Verb.other
  var reply = Reply.goodbye
  var separator = ReplySeparator.kept
  var earlierSeparator = ReplySeparator.kept

  /// A complete, held client line that waits until nothing is outstanding.
  var waiting: ClientLine?
  /// How STARTTLS would be answered now.
  var offer = Offer.possible
  /// Six Boolean properties, see Facts.swift.
  var facts = Facts()

  /// Creates a session that waits for the server's greeting.
  public init(_ policy: Policy) {
    limits = Limits(policy)
  }
}

/// Which reply is pending, where that makes a difference.
enum Pending: UInt8, Equatable, Sendable {
  /// The reply to any other command, or no reply.
  case any
  /// The reply to EHLO (LHLO in LMTP), which is rewritten.
  case ehlo
  /// The reply to HELO.
  case helo
  /// The reply to AUTH, or to one line of its exchange.
  case authentication
}

/// How STARTTLS would be answered now.
enum Offer: UInt8, Equatable, Sendable {
  /// Accepted, once an EHLO was accepted. Only in this case STARTTLS is listed in the reply to EHLO.
  case possible
  /// 454: the TLS helper has ended, or there is no certificate.
  case unavailable
  /// 503: the greeting was not 220, AUTH succeeded in clear, or TLS is already in use.
  case impossible
}

// MARK: - What a session waits for

extension SMTPSession {
  /// What the session waits for now.
  public var interest: Interest {
    if !agenda.isEmpty { return .again }
    switch phase {
    case .greeting, .resetting, .regreeting, .quitting, .refusing: return .server
    case .negotiating, .secured: return wantsClient ? .both : .server
    case .promised: return .drain
    case .peekingBeforeReset, .peekingAtServer, .peekingAtClient, .handshaking, .restarting, .relaying, .closed:
      return .nothing
    }
  }

  /// The kind of timer that runs now. It starts again at every command except `keep` and `drop`, and whenever the kind changes.
  /// The timer `.clearPhase` runs in parallel, from the start until the decision.
  public var deadline: Deadline? {
    if !agenda.isEmpty { return nil }
    switch phase {
    case .greeting, .restarting, .regreeting: return .greeting
    case .negotiating, .secured: return outstanding > 0 || isUnasked ? .reply : .command
    case .quitting, .refusing: return .reply
    case .peekingBeforeReset, .resetting, .peekingAtServer, .peekingAtClient: return .reset
    case .promised, .handshaking: return .handshake
    case .relaying, .closed: return nil
    }
  }

  /// True once `relay` or `close` was issued. No command follows.
  public var isFinal: Bool {
    agenda.isEmpty && (phase == .relaying || phase == .closed)
  }

  /// True once `handoff` or `abort` was issued. The timer `.clearPhase` runs until then.
  public var isClearPhaseOver: Bool { isDecided }

  /// In the watched phases: whether octets of the client are accepted.
  private var wantsClient: Bool {
    if clientEnded || isUnasked { return false }
    return client.isSkippingChunk || (waiting == nil && pending == .any && outstanding < limits.outstanding)
  }

  /// The server has begun a line that no command asked for. No client line is processed until this line is complete.
  var isUnasked: Bool { outstanding == 0 && server.isInsideLine }

  /// Whether the deferred command, or the client's end, can be processed now. Only here is a client's end judged.
  var hasUnsettled: Bool {
    switch phase {
    case .negotiating, .secured: outstanding == 0 && !isUnasked && (waiting != nil || clientEnded)
    case .greeting, .peekingBeforeReset, .resetting, .peekingAtServer, .peekingAtClient, .promised, .handshaking,
      .restarting, .regreeting, .quitting, .refusing, .relaying, .closed:
      false
    }
  }
}

#if !hasFeature(Embedded)
  extension SMTPSession: Hashable {}
#endif
