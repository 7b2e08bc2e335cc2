// Session+Server: what a server's line leads to.
//
// Purpose: each reply line is passed on, rewritten, discarded, or ends the session.
// Failure: garbage and unasked replies end the session, with 421 to the client where no reply is half sent.
//
// EXAMPLE: A REWRITTEN REPLY TO EHLO
//
// In clear, default policy: STARTTLS would be accepted, AUTH is not allowed. The reply of the server has five lines. Each row is
// one command, in order. `reply` and `earlier` are the caller's holds as they are after the command.
//
// | the server's line             | command                   | sent to the client       | `reply`    | `earlier`  |
// |-------------------------------|---------------------------|--------------------------|------------|------------|
// | 1 `250-mail.example.org`      | stash                     |                          | empty      | line 1     |
// | 2 `250-SIZE 10240000`         | passEarlier(hyphen)       | `250-mail.example.org`   | line 2     | empty      |
// |                               | reply(starttlsKeyword)    | `250-STARTTLS`           | line 2     | empty      |
// |                               | stash                     |                          | empty      | line 2     |
// | 3 `250-AUTH PLAIN`            | drop(reply)               |                          | empty      | line 2     |
// | 4 `250-8BITMIME`              | passEarlier(hyphen)       | `250-SIZE 10240000`      | line 4     | empty      |
// |                               | stash                     |                          | empty      | line 4     |
// | 5 `250 XCLIENT NAME`          | passEarlier(space)        | `250 8BITMIME`           | line 5     | empty      |
// |                               | drop(reply)               |                          | empty      | empty      |
//
// Line 1 is always kept, but it may be the only kept line: so it is held until a second kept line or the end of the reply has
// arrived. Lines 3 and 5 are taken out. Line 4 could not be sent before line 5 had arrived: only then was it known that line 4 is
// the last kept one and needs SP. A last line that is kept is never stashed: it is sent at once with pass(space).
//
// Where line 1 is the only kept line, STARTTLS is the last line:
//
// | the server's line             | command                    | sent to the client      | `reply`    | `earlier`  |
// |-------------------------------|----------------------------|-------------------------|------------|------------|
// | 1 `250-mail.example.org`      | stash                      |                         | empty      | line 1     |
// | 2 `250 AUTH PLAIN`            | passEarlier(hyphen)        | `250-mail.example.org`  | line 2     | empty      |
// |                               | drop(reply)                |                         | empty      | empty      |
// |                               | reply(lastStarttlsKeyword) | `250 STARTTLS`          | empty      | empty      |

extension SMTPSession {
  mutating func receiveFromServer(_ octets: Span<UInt8>) -> Step {
    let findsKeywords = pending == .ehlo
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
      if line.code.isIntermediate && pending != .authentication { return receivedGarbage() }
      if pending == .ehlo && line.code == .done250 { rewrite(line) } else { pass(line) }
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
      break  // In these phases the server is not read.
    }
  }

  private mutating func pass(_ line: ServerLine) {
    agenda = Agenda(.pass)
    isMidReply = !line.isLast
  }

  /// The last line of a pending reply has arrived.
  private mutating func answered(_ code: Code) {
    outstanding -= 1
    let whose = pending
    pending = .any
    switch whose {
    case .any:
      break
    case .ehlo:
      if code == .done250 { isGreeted = true }
    case .helo:
      if code.isPositive && phase == .secured { isGreeted = true }
    case .authentication:
      if code == .continue334 { client.expectResponse() }
      // Neither RSET nor EHLO logs out: a session in which an attacker has logged in must not become another client's.
      if code.isPositive { offer = .impossible }
    }
  }

  /// The last line of the answer to the session's RSET has arrived. It is discarded.
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

  /// 421: the server closes. The session closes too, after the reply's last line.
  private mutating func refuse(_ line: ServerLine) {
    let rest = server
    startOver()
    server = rest
    outstanding = 1
    agenda = isDecided ? Agenda(.pass) : Agenda(.abort, .pass)
    reason = .serverRefused
    phase = .refusing
    isMidReply = !line.isLast
    if line.isLast { close() }
  }

  /// Closes after what is on the agenda: the last line of a reply.
  private mutating func close() {
    let last = agenda
    startOver()
    hasNewServer = false
    agenda = last
    agenda.insert(.close)
    phase = .closed
  }

  /// What the server sent is not a reply, or not one that fits the phase.
  private mutating func receivedGarbage() {
    switch phase {
    case .regreeting:
      fail(.restartFailed, .serverUnavailable)
    case .greeting, .negotiating, .resetting, .secured, .quitting, .refusing:
      fail(outstanding == 0 ? .serverUnasked : .serverGarbage, .serverFailed)
    case .peekingBeforeReset, .peekingAtServer, .peekingAtClient, .promised, .handshaking, .restarting, .relaying,
      .closed:
      break  // In these phases the server is not read.
    }
  }

  /// The input of the current server has ended.
  mutating func serverDidEnd() {
    switch phase {
    case .greeting:
      fail(.serverEnded, .serverUnavailable)
    case .negotiating, .peekingBeforeReset, .resetting, .peekingAtServer, .secured:
      fail(.serverEnded, .serverFailed)
    case .peekingAtClient:
      // The end of a server that will be replaced matters only if `tlsUnavailable` forces the session to continue with it.
      if limits.restarts { serverEnded = true } else { fail(.serverEnded, .serverFailed) }
    case .promised, .handshaking:
      // After the 220 no text may be sent. With restart the old server's end is irrelevant here.
      if !limits.restarts { fail(.serverEnded, nil) }
    case .restarting:
      break  // It is the old server: the new one cannot be named yet.
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
  /// One line of a 250 reply to EHLO; see the example at the head of this file. Each kept line is sent when the next one
  /// arrives: only then is it known whether it is the last. Until then the hold `earlier` has it. STARTTLS comes after the first
  /// line, which has the domain; clients that search for `250-STARTTLS` find it wherever the server lists any other keyword.
  private mutating func rewrite(_ line: ServerLine) {
    let isKept = line.isFirst || !isTakenOut(line.keyword)
    // While no line of this reply was sent, STARTTLS is not listed yet, and the first line is held or is this one.
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

  /// Whether a line with that keyword is taken out.
  private func isTakenOut(_ keyword: Keyword?) -> Bool {
    switch keyword {
    case nil: false
    // The server itself has no TLS to offer. XCLIENT and XFORWARD are for proxies that the server trusts.
    case .starttls, .xclient, .xforward: true
    // RFC 4954, 4 and RFC 8689, 2: these two are not listed in clear.
    case .auth: phase == .negotiating && !limits.allowsAuthentication
    case .requiretls: phase == .negotiating
    }
  }
}
