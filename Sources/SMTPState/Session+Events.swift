// Session, events: what the caller reports.
//
// Octets go to a scanner; the token that it returns goes to the control, in Session+Client.swift or Session+Server.swift. Every
// other event goes to the control at once. Each returns the first command that it led to.

extension SMTPSession {
  /// Octets of a party have arrived: those that were not consumed before.
  ///
  /// Consumes at most to the end of the first line (or of a chunk). Consumes at least one octet if there is one and `interest`
  /// includes the party. Consumes none of a server that was replaced.
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

  /// Returns the next command that the last event led to while `interest` is `.again`; otherwise `.keep`.
  public mutating func nextCommand() -> Command {
    advance()
  }

  /// The input of that party has ended: a peek returned 0, and no octet is left, nor in a buffer of the caller. Between
  /// `handoff` and `handshakeFinished` do not report the end of the client: it belongs to the TLS layer then. The end of a
  /// server that was replaced changes nothing.
  public mutating func inputEnded(from party: Party) -> Command {
    if party == .client && clientEnded || party == .server && hasNewServer { return .keep }
    guard agenda.isEmpty, party != .newServer || hasNewServer else { return misuse() }
    switch party {
    case .client: clientDidEnd()
    case .server, .newServer: serverDidEnd()
    }
    return advance()
  }

  /// The kernel has accepted every octet of all earlier commands. Report it while `interest` is `.drain`; at any other time it
  /// changes nothing.
  public mutating func outputDrained() -> Command {
    guard agenda.isEmpty, phase == .promised else { return .keep }
    agenda = limits.restarts ? Agenda(.endServer, .handoff) : Agenda(.handoff)
    phase = .handshaking
    return advance()
  }

  /// Answers `peek`: the party's next octet, nil if none has arrived; and whether the party's input has ended.
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

  /// Whether what the client sent after STARTTLS ends the session: a command injection or the client's end does. No octet, or an
  /// early ClientHello, which belongs to the TLS layer (RFC 9051, 6.2.1), does not.
  private mutating func endsAtLook(_ first: UInt8?, ended: Bool) -> Bool {
    switch first {
    case nil where ended: fail(.clientEnded, nil)
    case nil, .tlsHandshake: return false
    default: fail(.injectedPlaintext, .injectedPlaintext)
    }
    return true
  }

  /// TLS is not available: the TLS helper has ended, or there is no certificate. Valid at any time before the 220, also in place
  /// of `peeked` and while `interest` is `.again`; later it changes nothing.
  public mutating func tlsUnavailable() -> Command {
    guard offer == .possible else { return .keep }
    switch phase {
    case .greeting, .negotiating, .resetting:
      offer = .unavailable
      return .keep
    case .peekingBeforeReset, .peekingAtServer, .peekingAtClient:
      if serverEnded {
        // The session would have to continue with a server that has ended.
        fail(.serverEnded, .serverFailed)
        return advance()
      }
      offer = .unavailable
      phase = .negotiating
      // The peek may still be on the agenda, after the last line of the answer to RSET.
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
      startOver()
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

  /// That timer expired. Changes nothing if it was not running.
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
