// What a server's line leads to: its reply is passed on, rewritten, swallowed, or the end.

extension SMTPSession {
  mutating func receiveFromServer(_ octets: Span<UInt8>) -> Step {
    let findsKeywords = owed == .ehlo
    for index in octets.indices {
      switch server.scan(octets[index], limits, findsKeywords: findsKeywords) {
      case .more:
        break
      case .line(let line):
        received(line)
        return Step(consumed: index + 1, command: advance())
      case .garbage:
        receivedGarbage()
        return Step(consumed: index + 1, command: advance())
      }
    }
    return Step(consumed: octets.count, command: .keep)
  }

  /// A reply line is complete.
  private mutating func received(_ line: ServerLine) {
    switch phase {
    case .greeting:
      if line.code == .closing421 { return refuse(line) }
      if line.code.isIntermediate { return receivedGarbage() }
      pass(line)
      guard line.isLast else { return }
      outstanding = 0
      if line.code != .ready220 { offer = .impossible }
      phase = .negotiating
    case .negotiating, .secured:
      if line.code == .closing421 { return refuse(line) }
      if outstanding == 0 { return fail(.serverUnasked, .serverFailed) }
      if line.code.isIntermediate && owed != .authentication { return receivedGarbage() }
      if owed == .ehlo && line.code == .done250 { rewrite(line) } else { pass(line) }
      if line.isLast { answered(line.code) }
    case .resetting:
      if line.code == .closing421 { return refuse(line) }
      if line.code.isIntermediate { return receivedGarbage() }
      agenda = Agenda(.dropReply)
      if line.isLast { resetAnswered(line.code) }
    case .regreeting:
      guard line.code == .ready220 else { return receivedGarbage() }
      agenda = Agenda(.dropReply)
      guard line.isLast else { return }
      outstanding = 0
      phase = .secured
    case .quitting:
      if line.code.isIntermediate { return receivedGarbage() }
      pass(line)
      if line.isLast { close() }
    case .refusing:
      pass(line)
      if line.isLast { close() }
    case .peekingBeforeReset, .peekingAtServer, .peekingAtClient, .promised, .handshaking, .restarting, .relaying,
      .closed:
      break  // No octets are taken there.
    }
  }

  private mutating func pass(_ line: ServerLine) {
    agenda = Agenda(.pass)
    isMidReply = !line.isLast
  }

  /// The last line of an owed reply has come.
  private mutating func answered(_ code: Code) {
    outstanding -= 1
    let whose = owed
    owed = .any
    switch whose {
    case .any:
      break
    case .ehlo:
      if code == .done250 { isGreeted = true }
    case .helo:
      if code.isPositive && phase == .secured { isGreeted = true }
    case .authentication:
      if code == .continue334 { client.expectResponse() }
      // Neither RSET nor EHLO logs out: what an attacker logged in to must not become another's session.
      if code.isPositive { offer = .impossible }
    }
  }

  /// The last line of the answer to our RSET has come; it is swallowed.
  private mutating func resetAnswered(_ code: Code) {
    outstanding = 0
    if !code.isPositive {
      say(.resetFailed)
      phase = .negotiating
    } else if offer == .unavailable {
      say(.tlsUnavailable)
      phase = .negotiating
    } else {
      agenda.insert(.peek)
      phase = .peekingAtServer
    }
  }

  /// 421: the server closes, and so does the session, behind the reply's last line.
  private mutating func refuse(_ line: ServerLine) {
    let rest = server
    startAnew()
    server = rest
    outstanding = 1
    agenda = isDecided ? Agenda(.pass) : Agenda(.abort, .pass)
    reason = .serverRefused
    phase = .refusing
    isMidReply = !line.isLast
    if line.isLast { close() }
  }

  /// Closes behind what is on the agenda: a reply that is passed on whole.
  private mutating func close() {
    let last = agenda
    startAnew()
    hasNewServer = false
    agenda = last
    agenda.insert(.close)
    phase = .closed
  }

  /// That was no reply, or not one that could be meant for us.
  private mutating func receivedGarbage() {
    switch phase {
    case .regreeting:
      fail(.restartFailed, .serverUnavailable)
    case .greeting, .negotiating, .resetting, .secured, .quitting, .refusing:
      fail(outstanding == 0 ? .serverUnasked : .serverGarbage, .serverFailed)
    case .peekingBeforeReset, .peekingAtServer, .peekingAtClient, .promised, .handshaking, .restarting, .relaying,
      .closed:
      break  // No octets are taken there.
    }
  }

  /// The input of the server that counts is over.
  mutating func serverDidEnd() {
    switch phase {
    case .greeting:
      fail(.serverEnded, .serverUnavailable)
    case .negotiating, .peekingBeforeReset, .resetting, .peekingAtServer, .secured:
      fail(.serverEnded, .serverFailed)
    case .peekingAtClient:
      // A server that is to be replaced matters only if the session has to go on with it after all: `unavailable`.
      if limits.restarts { serverEnded = true } else { fail(.serverEnded, .serverFailed) }
    case .promised, .handshaking:
      // The client was promised TLS: no text. With restart the old server's end is irrelevant here.
      if !limits.restarts { fail(.serverEnded, nil) }
    case .restarting:
      break  // The old server: the new one has no name yet.
    case .regreeting:
      fail(.restartFailed, .serverUnavailable)
    case .quitting:
      fail(isMidReply ? .serverEnded : .quit, .goodbye)
    case .refusing:
      fail(.serverRefused, nil)
    case .relaying, .closed:
      break
    }
  }
}

// MARK: - Rewriting

extension SMTPSession {
  /// One line of a 250 reply to EHLO. Each kept line is sent when the next one arrives: only then is it known whether it
  /// is the last. Until then `earlier` holds it. STARTTLS comes after the first line, which is the domain; clients that
  /// search for `250-STARTTLS` find it wherever the server lists anything else.
  private mutating func rewrite(_ line: ServerLine) {
    let isKept = line.isFirst || !isTakenOut(line.keyword)
    // While nothing of this reply was sent, STARTTLS is not listed yet, and the first line waits or is this one.
    let lists = !isMidReply && phase == .negotiating && offer == .possible
    agenda = Agenda(isKept ? (line.isLast ? .pass : .stash) : .dropReply)
    if isKept && !line.isFirst {
      earlierSeparator = .hyphen
      agenda.insert(.passEarlier)
      if lists { agenda.insert(.list) }
      isMidReply = true
    }
    guard line.isLast else { return }
    isMidReply = false
    let endsWithKeyword = lists && (line.isFirst || !isKept)
    if endsWithKeyword { say(.lastStarttlsKeyword) }
    let end: ReplySeparator = endsWithKeyword ? .hyphen : .space
    if isKept {
      separator = end
    } else {
      earlierSeparator = end
      agenda.insert(.passEarlier)
    }
  }

  /// Whether a line with that keyword must not reach the client.
  private func isTakenOut(_ keyword: Keyword?) -> Bool {
    switch keyword {
    case nil: false
    // The server has no TLS of its own to offer, and these two are for proxies it trusts.
    case .starttls, .xclient, .xforward: true
    // RFC 4954, 4 and RFC 8689, 2: not in clear.
    case .auth: phase == .negotiating && !limits.allowsAuthentication
    case .requiretls: phase == .negotiating
    }
  }
}
