// Session+Client: what a client's line leads to.
//
// Purpose: two tables (in clear, inside TLS) give a verdict on each line. `take` carries a verdict out.
// Contract: a line is processed when nothing is outstanding, or at once if its verdict is `.pipeline`. The tables are those of
// Docs/Rules.md.
// Failure: a line that cannot be forwarded is answered, or ends the session with a reply and a reason.

/// What to do with a line. It does not depend on the replies that are outstanding.
private enum Verdict {
  /// Forward it at once. Its reply is only counted.
  case pipeline
  /// Forward it in its turn, and do not read the client until it is answered.
  case forward(Pending)
  /// Answer it in its turn.
  case answer(Reply)
  /// Answer it in its turn, and count it as junk: mail clients rarely send such lines, and no other limit bounds them.
  case junk(Reply)
  /// Answer it in its turn, then close.
  case refuse(Reply, Reason)
  /// STARTTLS is accepted.
  case startTLS
  /// MAIL in clear: abandon STARTTLS, forward the line, then relay.
  case abandon
  /// Forward QUIT, pass its reply on, then close.
  case quit
  /// Inside TLS: forward it, then relay.
  case relay
}

extension SMTPSession {
  mutating func receiveFromClient(_ octets: Span<UInt8>) -> Step {
    let discarded = client.discard(octets)
    if discarded > 0 { return Step(consumed: discarded, command: .drop(.client)) }
    for index in octets.indices {
      switch client.scan(octets[index], limits, inClear: phase == .negotiating) {
      case .more: break
      case .tooLong: return Step(consumed: index + 1, command: .drop(.client))
      case .line(let line, let chunk): return Step(consumed: index + 1, command: received(line, chunk))
      }
    }
    return Step(consumed: octets.count, command: .keep)
  }

  /// A line is complete. A chunk of that many octets follows it.
  private mutating func received(_ line: ClientLine, _ chunk: UInt32) -> Command {
    if chunk > 0 && !letsGo {
      client.skipChunk(of: chunk)
      return .drop(.client)
    }
    var line = line
    if phase == .negotiating && line.verb != .response {
      if commands < limits.commands { commands += 1 } else { line.flaw = .flood }
    }
    if case .pipeline = verdict(on: line) {
      forward(line.verb)
    } else if outstanding > 0 {
      waiting = line
    } else {
      take(line)
    }
    return advance()
  }

  /// Processes a line when nothing is outstanding.
  mutating func take(_ line: ClientLine) {
    switch verdict(on: line) {
    case .pipeline:
      forward(line.verb)
    case .forward(let whose):
      forward(line.verb)
      pending = whose
    case .answer(let text):
      say(text)
    case .junk(let text):
      if junk < limits.junk {
        junk += 1
        say(text)
      } else {
        fail(.tooManyCommands, .tooManyCommands)
      }
    case .refuse(let text, let why):
      fail(why, text)
    case .startTLS:
      startTLS()
    case .abandon:
      startOver()
      verb = line.verb
      reason = .mail
      agenda = Agenda(.abort, .forward, .relay)
      phase = .relaying
    case .quit:
      startOver()
      verb = line.verb
      reason = .quit
      outstanding = 1
      agenda = isDecided ? Agenda(.forward) : Agenda(.abort, .forward)
      phase = .quitting
    case .relay:
      startOver()
      verb = line.verb
      agenda = Agenda(.forward, .relay)
      phase = .relaying
    }
  }

  private mutating func forward(_ word: Verb) {
    verb = word
    agenda = Agenda(.forward)
    outstanding += 1
  }

  /// STARTTLS is accepted. From here on no octet of the client is consumed.
  private mutating func startTLS() {
    if clientEnded {
      fail(.clientEnded, nil)
    } else if limits.restarts {
      agenda = Agenda(.peek)
      phase = .peekingAtClient
    } else {
      agenda = Agenda(.peek)
      phase = .peekingBeforeReset
    }
  }

  /// The client's input has ended.
  mutating func clientDidEnd() {
    switch phase {
    case .greeting, .peekingBeforeReset, .resetting, .peekingAtServer, .peekingAtClient, .promised, .restarting,
      .regreeting:
      fail(.clientEnded, nil)
    case .negotiating, .secured:
      // First complete lines are executed and pending replies delivered. A partial line is dropped.
      clientEnded = true
      client = CommandScanner()
      if outstanding == 0 && !isUnasked { agenda = Agenda(.settle) }
    case .handshaking, .quitting, .refusing, .relaying, .closed:
      break
    }
  }
}

// MARK: - The tables

extension SMTPSession {
  private func verdict(on line: ClientLine) -> Verdict {
    switch line.flaw {
    case .sound: break
    case .malformed:
      // The server waits for a response and would take the next command for it.
      if line.verb == .response { return .refuse(.badResponse, .badResponse) }
      // A chunk follows, which would be taken for commands.
      return line.verb == .bdat ? .refuse(.badParameter, .badChunk) : .junk(.syntaxError)
    case .badChunk: return letsGo ? .relay : .refuse(.badParameter, .badChunk)
    case .largeChunk: return letsGo ? .relay : .refuse(.chunkTooLarge, .chunkTooLarge)
    case .tlsRecord: return .refuse(.wrongProtocol, .wrongProtocol)
    case .flood: return .refuse(.tooManyCommands, .tooManyCommands)
    }
    return phase == .negotiating ? verdictInClear(on: line) : verdictInsideTLS(on: line)
  }

  /// The table for lines in clear. RFC 3207, 4: where TLS is required, all but NOOP, EHLO, STARTTLS and QUIT are answered 530.
  private func verdictInClear(on line: ClientLine) -> Verdict {
    let isRequired = limits.requiresTLS
    switch line.verb {
    case .ehlo: return limits.isLMTP ? .junk(.wrongGreeting) : .forward(.ehlo)
    case .helo where limits.isLMTP: return .junk(.wrongGreeting)
    case .lhlo where limits.isLMTP: return .forward(.ehlo)
    // HELO does not exclude STARTTLS: EHLO may follow (RFC 5321, 4.1.4).
    case .helo: return isRequired ? .answer(.tlsRequired) : .forward(.helo)
    case .starttls:
      if line.hasParameter { return .answer(.badParameter) }
      switch offer {
      case .impossible: return .answer(.badSequence)
      case .unavailable: return .answer(isGreeted ? .tlsUnavailable : .badSequence)
      case .possible: return isGreeted ? .startTLS : .answer(.badSequence)
      }
    case .quit: return line.hasParameter ? .answer(.badParameter) : .quit
    case .noop: return .pipeline
    case .rset, .vrfy, .expn, .help, .etrn: return isRequired ? .answer(.tlsRequired) : .pipeline
    case .mail: return isRequired ? .answer(.tlsRequired) : .abandon
    case .rcpt, .data, .bdat: return .answer(isRequired ? .tlsRequired : .badSequence)
    case .auth:
      if isRequired { return .answer(.tlsRequired) }
      return limits.allowsAuthentication ? .forward(.authentication) : .answer(.encryptionRequired)
    case .response: return .forward(.authentication)
    case .get, .post, .put, .head, .options, .connect, .delete, .patch, .trace:
      return .refuse(.wrongProtocol, .wrongProtocol)
    case .blank: return .junk(.syntaxError)
    case .lhlo, .xclient, .xforward, .other: return isRequired ? .answer(.tlsRequired) : .junk(.unknownCommand)
    }
  }

  /// The table for lines inside TLS. XCLIENT and XFORWARD are refused: the server would take them for commands of this proxy.
  /// Every line that is answered here counts as junk: commands are not counted inside TLS, and the server does not see these.
  private func verdictInsideTLS(on line: ClientLine) -> Verdict {
    switch line.verb {
    case .ehlo: return limits.isLMTP ? .junk(.wrongGreeting) : .forward(.ehlo)
    case .helo: return limits.isLMTP ? .junk(.wrongGreeting) : .forward(.helo)
    case .lhlo: return limits.isLMTP ? .forward(.ehlo) : .junk(.unknownCommand)
    case .starttls: return .junk(.badSequence)
    case .quit: return line.hasParameter ? .junk(.badParameter) : .quit
    case .rset, .noop, .vrfy, .expn, .help, .etrn: return .pipeline
    case .auth, .response: return .forward(.authentication)
    case .blank: return .junk(.syntaxError)
    case .xclient, .xforward: return .junk(.unknownCommand)
    case .mail, .rcpt, .data, .bdat, .get, .post, .put, .head, .options, .connect, .delete, .patch, .trace, .other:
      return letsGo ? .relay : .junk(.badSequence)
    }
  }

  /// Inside TLS: whether the session may start to relay. The server is in its first state, or has accepted a new greeting.
  private var letsGo: Bool { phase == .secured && (limits.restarts || isGreeted) }
}
