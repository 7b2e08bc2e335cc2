// What a client's line leads to: two tables, in clear and inside TLS, and what each of their verdicts does.

/// What a line deserves, before it is known whether its turn has come.
private enum Verdict {
  /// Forward it at once: its reply is counted, no more.
  case pipeline
  /// Forward it in its turn, and read no more of the client until it is answered.
  case forward(Owed)
  /// Answer it in its turn.
  case answer(Reply)
  /// The same, and count it as junk: a mail client does not send this often, and nothing else bounds it.
  case junk(Reply)
  /// Answer it in its turn, and close.
  case refuse(Reply, Reason)
  /// STARTTLS is accepted.
  case startTLS
  /// MAIL in clear: STARTTLS is abandoned.
  case abandon
  case quit
  /// Forward it, and watch no longer.
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

  /// A line is complete, and a chunk of so many octets follows it.
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

  /// The line's turn has come: nothing is outstanding.
  mutating func take(_ line: ClientLine) {
    switch verdict(on: line) {
    case .pipeline:
      forward(line.verb)
    case .forward(let whose):
      forward(line.verb)
      owed = whose
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
      startAnew()
      verb = line.verb
      reason = .mail
      agenda = Agenda(.abort, .forward, .relay)
      phase = .relaying
    case .quit:
      startAnew()
      verb = line.verb
      reason = .quit
      outstanding = 1
      agenda = isDecided ? Agenda(.forward) : Agenda(.abort, .forward)
      phase = .quitting
    case .relay:
      startAnew()
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

  /// STARTTLS is accepted: from here on not one octet of the client is consumed.
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

  /// The client's input is over.
  mutating func clientDidEnd() {
    switch phase {
    case .greeting, .peekingBeforeReset, .resetting, .peekingAtServer, .peekingAtClient, .promised, .restarting,
      .regreeting:
      fail(.clientEnded, nil)
    case .negotiating, .secured:
      // Complete lines are executed and owed replies delivered first; a partial line is dropped.
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
      // The server waits for a response: it would take the next command for one.
      if line.verb == .response { return .refuse(.badResponse, .badResponse) }
      // A chunk follows, and would be taken for commands.
      return line.verb == .bdat ? .refuse(.badParameter, .badChunk) : .junk(.syntaxError)
    case .badChunk: return letsGo ? .relay : .refuse(.badParameter, .badChunk)
    case .largeChunk: return letsGo ? .relay : .refuse(.chunkTooLarge, .chunkTooLarge)
    case .tlsRecord: return .refuse(.wrongProtocol, .wrongProtocol)
    case .flood: return .refuse(.tooManyCommands, .tooManyCommands)
    }
    return phase == .negotiating ? verdictInClear(on: line) : verdictInsideTLS(on: line)
  }

  /// In clear. RFC 3207, 4: where TLS is required, everything but NOOP, EHLO, STARTTLS and QUIT gets 530.
  private func verdictInClear(on line: ClientLine) -> Verdict {
    let isRequired = limits.requiresTLS
    switch line.verb {
    case .ehlo: return limits.isLMTP ? .junk(.wrongGreeting) : .forward(.ehlo)
    case .helo where limits.isLMTP: return .junk(.wrongGreeting)
    case .lhlo where limits.isLMTP: return .forward(.ehlo)
    // It proves nothing: EHLO may follow (RFC 5321, 4.1.4).
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

  /// Inside TLS. XCLIENT and XFORWARD would be believed as coming from us. Every line that is answered here is junk:
  /// commands are not counted inside TLS, and the server does not see these.
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

  /// Inside TLS: whether the server is in its first state, or has been greeted anew, so that the session may let go of it.
  private var letsGo: Bool { phase == .secured && (limits.restarts || isGreeted) }
}
