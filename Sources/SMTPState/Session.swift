// Session: the decision. A small value that is told what happened and answers with one thing to do.
//
// It has no buffer, no clock and no descriptor. Octets go in through `receive`; a `Command` comes out; while
// `interest` is `.again`, `nextCommand()` gives the rest of what the event led to, and every other event waits. What happens while
// a command is carried out (a server may answer before `forward` returns) is noted, and told behind the last of them.
//
// Three kinds of failure, kept apart:
// - a peer's: always an answer of the protocol (`reply`, `close` with a reason). No octet of a peer can trap.
// - too late or said twice (`drained`, `expired` of a timer that does not run, `ended` again, anything of a server that
//   was replaced): changes nothing, `.keep`.
// - the caller's: closes the session with the reason `misuse`. It does not trap either.
//
// What happens on a client's line is in Session+Client.swift, on a server's in Session+Server.swift.

/// One SMTP session between a client and a server that has no TLS: decides when STARTTLS is requested (`handoff`) or
/// provably abandoned (`abort`), and what each side hears until then.
///
/// A session is a value: a copy goes its own way. Two that are equal have equal futures.
///
/// ```swift
/// var session = SMTPSession(Policy())
/// let step = session.receive(octets.span, from: .client)
/// // append octets[..<step.consumed] to the client's hold, carry out step.command, then:
/// while session.interest == .again { carryOut(session.nextCommand()) }
/// ```
public struct SMTPSession: Equatable, Sendable {
  // 64 octets, thanks to their order: what is not one octet stands where it needs no padding.
  let limits: Limits
  /// Replies owed by the server, its greeting and the answer to our RSET included. Counted, so that replies are in order
  /// by construction.
  var outstanding: UInt8 = 1
  /// Whose reply is owed, where that matters. Then nothing else is outstanding, and the client is not read.
  var owed = Owed.any
  /// Lines answered as junk.
  var junk: UInt8 = 0
  var client = CommandScanner()
  /// Where the session is.
  public internal(set) var phase = Phase.greeting
  var server = ReplyScanner()
  /// Why the session is decided or closed.
  var reason = Reason.misuse
  /// Commands before TLS.
  var commands: UInt16 = 0

  /// What the last event led to and was not fetched yet, with the parameters of its effects.
  var agenda = Agenda()
  var verb = Verb.other
  var reply = Reply.goodbye
  var separator = ReplySeparator.kept
  var earlierSeparator = ReplySeparator.kept

  /// A complete line, held, that waits until nothing is outstanding.
  var waiting: ClientLine?
  /// How STARTTLS would be answered now.
  var offer = Offer.possible
  /// What is true or false: see Facts.swift.
  var facts = Facts()

  /// A new session, which waits for the server's greeting.
  public init(_ policy: Policy) {
    limits = Limits(policy)
  }
}

/// Whose reply is owed, where that makes a difference.
enum Owed: UInt8, Equatable, Sendable {
  /// That of any command, or none.
  case any
  /// EHLO's, which is rewritten (LHLO's in LMTP).
  case ehlo
  /// HELO's.
  case helo
  /// AUTH's, or that of one line of its exchange.
  case authentication
}

/// How STARTTLS would be answered now.
enum Offer: UInt8, Equatable, Sendable {
  /// TLS, once an EHLO was accepted. Only now is it listed.
  case possible
  /// 454: the helper is gone, or there is no certificate.
  case unavailable
  /// 503: the greeting was not 220, AUTH succeeded in clear, or TLS is there already.
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

  /// The kind of timer that runs now, started anew at every command but `keep` and `drop`, and whenever it becomes another.
  /// Beside it `.clearPhase` runs from the start until a decision.
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

  /// Whether the session has ended in a decision of its caller's: nothing more comes out of it.
  public var isFinal: Bool {
    agenda.isEmpty && (phase == .relaying || phase == .closed)
  }

  /// Whether handoff or abort was emitted: `.clearPhase` runs until then.
  public var isClearPhaseOver: Bool { isDecided }

  /// In the watched phases: whether the client's octets are taken.
  private var wantsClient: Bool {
    if clientEnded || isUnasked { return false }
    return client.isSkippingChunk || (waiting == nil && owed == .any && outstanding < limits.outstanding)
  }

  /// The server is in the middle of a line that nothing asked for: nothing is taken up until it is judged.
  var isUnasked: Bool { outstanding == 0 && server.isInsideLine }

  /// The turn of the waiting command, or of the client's end, has come. The one place where a client's end is judged.
  private var hasUnsettled: Bool {
    switch phase {
    case .negotiating, .secured: outstanding == 0 && !isUnasked && (waiting != nil || clientEnded)
    case .greeting, .peekingBeforeReset, .resetting, .peekingAtServer, .peekingAtClient, .promised, .handshaking,
      .restarting, .regreeting, .quitting, .refusing, .relaying, .closed:
      false
    }
  }
}

// MARK: - Events

extension SMTPSession {
  /// Octets of a party have come, those not consumed before.
  ///
  /// Consumes at most to the end of the first line (or of a chunk); at least one octet, if there is one and the party is
  /// wanted. Nothing of a server that was replaced.
  public mutating func receive(_ octets: Span<UInt8>, from party: Party) -> Step {
    if party == .newServer && !hasNewServer { return Step(consumed: 0, command: misuse()) }
    guard !octets.isEmpty else { return Step(consumed: 0, command: .keep) }
    switch party {
    case .client:
      if clientEnded && agenda.isEmpty && !isFinal { return Step(consumed: 0, command: misuse()) }
      guard interest == .both else { return Step(consumed: 0, command: .keep) }
      return receiveFromClient(octets)
    case .server where hasNewServer:
      return Step(consumed: 0, command: .keep)
    case .server, .newServer:
      guard interest == .both || interest == .server else { return Step(consumed: 0, command: .keep) }
      return receiveFromServer(octets)
    }
  }

  /// The rest of what the last event led to. Only while `interest` is `.again`; otherwise `.keep`.
  public mutating func nextCommand() -> Command {
    advance()
  }

  /// That party's input is over: a peek returned 0, so that no octet of it is left; where the caller buffers, none there
  /// either. The end of the client is not reported between the handoff and `secured`: it is the TLS layer's then. The end
  /// of a server that was replaced changes nothing.
  public mutating func inputEnded(from party: Party) -> Command {
    if party == .client && clientEnded || party == .server && hasNewServer { return .keep }
    guard agenda.isEmpty, party != .newServer || hasNewServer else { return misuse() }
    switch party {
    case .client: clientDidEnd()
    case .server, .newServer: serverDidEnd()
    }
    return advance()
  }

  /// Every octet of all earlier commands is accepted by the kernel. While `interest` is `.drain`; otherwise too late.
  public mutating func outputDrained() -> Command {
    guard agenda.isEmpty, phase == .promised else { return .keep }
    agenda = limits.restarts ? Agenda(.endServer, .handoff) : Agenda(.handoff)
    phase = .handshaking
    return advance()
  }

  /// Answers `peek`: the party's next octet, nil if none waits; and whether the party has ended.
  public mutating func peeked(_ first: UInt8?, ended: Bool) -> Command {
    guard agenda.isEmpty else { return misuse() }
    switch phase {
    case .peekingBeforeReset:
      if !endsAtLook(first, ended: ended) {
        outstanding = 1
        agenda = Agenda(.resetServer)
        phase = .resetting
      }
    case .peekingAtServer:
      if first != nil {
        fail(.serverUnasked, .serverFailed)
      } else if ended {
        fail(.serverEnded, .serverFailed)
      } else {
        agenda = Agenda(.peek)
        phase = .peekingAtClient
      }
    case .peekingAtClient:
      if !endsAtLook(first, ended: ended) {
        serverEnded = false
        say(.readyForTLS)
        phase = .promised
      }
    case .greeting, .negotiating, .resetting, .promised, .handshaking, .restarting, .regreeting, .secured, .quitting,
      .refusing, .relaying, .closed:
      return misuse()
    }
    return advance()
  }

  /// Whether what the client sent after STARTTLS ends the session: a command injection, or its end. Nothing, or an eager
  /// ClientHello, which belongs to the TLS layer (RFC 9051, 6.2.1), does not.
  private mutating func endsAtLook(_ first: UInt8?, ended: Bool) -> Bool {
    switch first {
    case nil where ended: fail(.clientEnded, nil)
    case nil, .tlsHandshake: return false
    default: fail(.injectedPlaintext, .injectedPlaintext)
    }
    return true
  }

  /// TLS cannot be had: the helper is gone, there is no certificate. At any time before the 220, also in place of `peeked`
  /// and while `interest` is `.again`; later it changes nothing.
  public mutating func tlsUnavailable() -> Command {
    guard offer == .possible else { return .keep }
    switch phase {
    case .greeting, .negotiating, .resetting:
      offer = .unavailable
      return .keep
    case .peekingBeforeReset, .peekingAtServer, .peekingAtClient:
      if serverEnded {
        // The session would have to go on with a server that is gone.
        fail(.serverEnded, .serverFailed)
        return advance()
      }
      offer = .unavailable
      phase = .negotiating
      // The look may still stand on the agenda, behind the last line of the answer to RSET.
      guard agenda.isEmpty else {
        agenda.remove(.peek)
        say(.tlsUnavailable)
        return .keep
      }
      say(.tlsUnavailable)
      return advance()
    case .promised, .handshaking, .restarting, .regreeting, .secured, .quitting, .refusing, .relaying, .closed:
      return .keep
    }
  }

  /// Answers `handoff`.
  public mutating func handshakeFinished(_ outcome: HandshakeOutcome) -> Command {
    guard agenda.isEmpty, phase == .handshaking else { return misuse() }
    switch outcome {
    case .established:
      startAnew()
      if limits.restarts {
        agenda = Agenda(.restart)
        phase = .restarting
      } else {
        phase = .secured
      }
    case .failed:
      fail(.tlsFailed, nil)
    }
    return advance()
  }

  /// Answers `restart`.
  public mutating func serverRestarted(_ outcome: RestartOutcome) -> Command {
    guard agenda.isEmpty, phase == .restarting else { return misuse() }
    switch outcome {
    case .greeting:
      hasNewServer = true
      outstanding = 1
      phase = .regreeting
    case .ready:
      hasNewServer = true
      phase = .secured
    case .failed:
      fail(.restartFailed, .serverUnavailable)
    }
    return advance()
  }

  /// That timer passed. Changes nothing unless it runs.
  public mutating func timerExpired(_ kind: Deadline) -> Command {
    guard agenda.isEmpty, kind == deadline || kind == .clearPhase && !isDecided && !isFinal else { return .keep }
    switch kind {
    case .greeting: fail(.greetingTimeout, .serverUnavailable)
    case .command: fail(.commandTimeout, .timedOut)
    case .reply: fail(.replyTimeout, .timedOut)
    case .reset: fail(.resetTimeout, .serverFailed)
    case .handshake: fail(.handshakeTimeout, nil)
    case .clearPhase: fail(.clearPhaseTimeout, phase == .promised ? nil : .timedOut)
    }
    return advance()
  }
}

// MARK: - How a session moves

extension SMTPSession {
  /// The next effect, as a command. Behind the last one it is judged whether something that waited has its turn.
  mutating func advance() -> Command {
    let command = takeNext()
    if agenda.isEmpty && hasUnsettled { agenda = Agenda(.settle) }
    return command
  }

  private mutating func takeNext() -> Command {
    guard let effect = agenda.takeFirst() else { return .keep }
    switch effect {
    case .abort:
      isDecided = true
      return .abort(reason)
    case .endServer: return .endServer
    case .handoff:
      isDecided = true
      return .handoff(Handoff())
    case .passEarlier:
      defer { earlierSeparator = .kept }
      return .passEarlier(earlierSeparator)
    case .stash: return .stash
    case .pass:
      defer { separator = .kept }
      return .pass(separator)
    case .dropReply: return .drop(.reply)
    case .forward:
      defer { verb = .other }
      return .forward(verb)
    case .reply:
      defer { reply = .goodbye }
      return .reply(reply)
    case .resetServer: return .resetServer
    case .list: return .reply(.starttlsKeyword)
    case .peek: return .peek(phase == .peekingAtServer ? .server : .client)
    case .restart: return .restart
    case .relay:
      hasNewServer = false
      return .relay
    case .close: return .close(reason)
    case .settle:
      settle()
      return takeNext()
    }
  }

  /// Takes up the waiting command; without one, closes behind a client that has ended.
  private mutating func settle() {
    if let line = waiting {
      waiting = nil
      take(line)
    } else {
      fail(.clientEnded, nil)
    }
  }

  /// Puts one of our own replies on the agenda.
  mutating func say(_ text: Reply) {
    reply = text
    agenda.insert(.reply)
  }

  /// Puts an end to the session: abort, if it is undecided; the text, if there is one and no reply is half passed on; close.
  mutating func fail(_ why: Reason, _ text: Reply?) {
    let wasMidReply = isMidReply
    startAnew()
    hasNewServer = false
    phase = .closed
    reason = why
    if !isDecided { agenda.insert(.abort) }
    if let text, !wasMidReply { say(text) }
    agenda.insert(.close)
  }

  /// Forgets everything that came before but which server counts: for the phase inside TLS (RFC 3207, 4.2), and for the
  /// final ones.
  mutating func startAnew() {
    client = CommandScanner()
    server = ReplyScanner()
    agenda = Agenda()
    verb = .other
    reply = .goodbye
    separator = .kept
    earlierSeparator = .kept
    outstanding = 0
    owed = .any
    waiting = nil
    junk = 0
    commands = 0
    offer = .impossible
    isGreeted = false
    clientEnded = false
    serverEnded = false
    isMidReply = false
  }

  /// The caller broke the contract.
  mutating func misuse() -> Command {
    if phase == .closed || isFinal { return .keep }
    fail(.misuse, nil)
    return advance()
  }
}

#if !hasFeature(Embedded)
  extension SMTPSession: Hashable {}
#endif
