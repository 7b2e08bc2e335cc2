// OracleClient: the tables of commands.

import SMTPState

extension Oracle {
  /// Octets of the client wait, and are wanted.
  mutating func readClient() {
    if let line = chunkLine { return skipChunk(of: line) }
    let octets = client.line
    if octets[0] == 0x16, !isInsideTLS, !isExchanging {
      client.judged += 1
      client.taken = client.judged
      count()
      return judgeInTurn(.tlsRecord)
    }
    guard let end = octets.firstIndex(of: 0x0A) else {
      client.taken = client.octets.count
      return
    }
    client.judged += end + 1
    client.taken = client.judged
    let line = ClientLine(
      Array(octets[...end]),
      limits: isExchanging
        ? (max(1, policy.responseLineLimit), max(1, policy.responseLineLimit))
        : (max(1, policy.commandLineLimit), max(1, policy.responseLineLimit)),
      rejectsBareLineFeed: policy.bareLineFeed == .reject)
    if isExchanging { return exchange(line) }
    count()
    if isForwardedAtOnce(line) {
      forward(line, owing: line.verb)
    } else if let size = sizeOfSkippedChunk(line) {
      chunkLine = line
      chunkLeft = size
    } else {
      judgeInTurn(.line(line))
    }
  }

  private var chunkLimit: Double { Double(max(1, policy.chunkLimit)) }

  /// The size of the chunk after a line, if there is one that is skipped. Where BDAT would be relayed none is.
  private func sizeOfSkippedChunk(_ line: ClientLine) -> Double? {
    guard line.verb == "BDAT", !line.isMalformed, !isInsideTLS || mustGreetFirst else { return nil }
    guard let size = line.chunkSize, size > 0, size <= chunkLimit else { return nil }
    return size
  }

  private mutating func skipChunk(of line: ClientLine) {
    let count = min(chunkLeft, Double(client.octets.count - client.taken))
    chunkLeft -= count
    client.judged += Int(count)
    client.taken = client.judged
    guard chunkLeft == 0 else { return }
    chunkLine = nil
    judgeInTurn(.line(line))
  }

  /// Each command line in clear counts.
  private mutating func count() {
    guard !isInsideTLS else { return }
    commands += 1
    isOneTooMany = commands > max(1, policy.commandLimit)
  }

  private func isForwardedAtOnce(_ line: ClientLine) -> Bool {
    guard !line.isMalformed, !isOneTooMany else { return false }
    if line.verb == "NOOP" { return true }
    return ["RSET", "VRFY", "EXPN", "HELP", "ETRN"].contains(line.verb) && (isInsideTLS || !isRequired)
  }

  private mutating func judgeInTurn(_ line: Waiting) {
    waiting = line
    takeUpIfItsTurn()
  }

  mutating func takeUpIfItsTurn() {
    guard isWatching, pending.isEmpty, !isUnasked, let line = waiting else { return }
    waiting = nil
    if isOneTooMany { return close("too many commands", saying: "421 4.7.0") }
    switch line {
    case .tlsRecord: close("wrong protocol", saying: "554 5.5.1")
    case .line(let line): isInsideTLS ? takeUpInsideTLS(line) : takeUpInClear(line)
    }
    closeIfAllIsDone()
  }

  // MARK: - In clear

  private mutating func takeUpInClear(_ line: ClientLine) {
    if line.verb == "BDAT" { return takeUpChunk(line, otherwise: isRequired ? "530 5.7.0" : "503 5.5.1") }
    if line.isMalformed || line.verb.isEmpty { return answerJunk("500 5.5.2") }
    switch line.verb {
    case isLMTP ? "LHLO" : "EHLO":
      forward(line, owing: "EHLO")
    case "EHLO", "HELO":
      if isLMTP {
        answerJunk("500 5.5.1")
      } else {
        isRequired ? answer("530 5.7.0") : forward(line, owing: "HELO")
      }
    case "STARTTLS":
      if !line.parameters.isEmpty {
        answer("501 5.5.4")
      } else if !hasAcceptedEHLO || !greetingWas220 || isAuthenticated {
        answer("503 5.5.1")
      } else if !isTLSAvailable {
        answer("454 4.7.0")
      } else if client.isReported {
        close("client ended")
      } else {
        beginSwitch()
      }
    case "MAIL":
      if isRequired { return answer("530 5.7.0") }
      abort("mail")
      relay(line)
    case "AUTH":
      if allowsAuthentication {
        forward(line, owing: "AUTH")
      } else {
        answer(isRequired ? "530 5.7.0" : "538 5.7.11")
      }
    case "QUIT": quit(line)
    case "RCPT", "DATA": answer(isRequired ? "530 5.7.0" : "503 5.5.1")
    case "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "PATCH", "TRACE":
      close("wrong protocol", saying: "554 5.5.1")
    default:
      // What is forwarded at once never comes here but where it is refused.
      isRequired ? answer("530 5.7.0") : answerJunk("502 5.5.1")
    }
  }

  private mutating func takeUpChunk(_ line: ClientLine, otherwise code: String) {
    if line.isMalformed { return close("bad chunk", saying: "501 5.5.4") }
    guard let size = line.chunkSize else { return close("bad chunk", saying: "501 5.5.4") }
    if size > chunkLimit { return close("chunk too large", saying: "552 5.3.4") }
    refuse(code)
  }

  private mutating func quit(_ line: ClientLine) {
    if !line.parameters.isEmpty { return refuse("501 5.5.4") }
    abort("quit")
    forward(line, owing: "QUIT")
    phase = .quitting
  }

  // MARK: - Inside TLS

  private mutating func takeUpInsideTLS(_ line: ClientLine) {
    if line.verb == "BDAT", line.isMalformed { return close("bad chunk", saying: "501 5.5.4") }
    if line.isMalformed || line.verb.isEmpty { return answerJunk("500 5.5.2") }
    switch line.verb {
    case isLMTP ? "LHLO" : "EHLO": forward(line, owing: "EHLO")
    case "EHLO", "HELO": isLMTP ? answerJunk("500 5.5.1") : forward(line, owing: "HELO")
    case "LHLO", "XCLIENT", "XFORWARD": answerJunk("502 5.5.1")
    case "AUTH": forward(line, owing: "AUTH")
    case "STARTTLS": refuse("503 5.5.1")
    case "QUIT": quit(line)
    case "BDAT" where mustGreetFirst: takeUpChunk(line, otherwise: "503 5.5.1")
    default: mustGreetFirst ? refuse("503 5.5.1") : relay(line)
    }
  }

  // MARK: - What becomes of a line

  private mutating func exchange(_ line: ClientLine) {
    isExchanging = false
    if line.isMalformed { return close("bad response", saying: "500 5.5.6") }
    pending.append("response")
    deed("forward response", toServer: Latin(line.octets).withoutEnd.octets + [0x0D, 0x0A])
  }

  private mutating func forward(_ line: ClientLine, owing name: String? = nil) {
    if let name { pending.append(name) }
    let verb = Self.verbs.contains(line.verb) ? line.verb.lowercased() : "other"
    deed("forward \(verb)", toServer: Latin(line.octets).withoutEnd.octets + [0x0D, 0x0A])
  }

  private mutating func relay(_ line: ClientLine) {
    forward(line)
    // An incomplete line cannot be there: after a line that is taken up nothing more was consumed.
    deed("relay")
    phase = .relaying
  }

  /// In clear every command counts; inside TLS only what is answered here does, and all of it.
  private mutating func refuse(_ code: String) {
    isInsideTLS ? answerJunk(code) : answer(code)
  }

  private mutating func answerJunk(_ code: String) {
    junk += 1
    if junk > min(255, max(1, policy.junkLimit)) {
      close("too many commands", saying: "421 4.7.0")
    } else {
      answer(code)
    }
  }

  /// The words that a forwarded line is named after.
  private static let verbs = [
    "EHLO", "HELO", "LHLO", "STARTTLS", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "VRFY", "EXPN", "HELP", "ETRN",
    "AUTH", "QUIT", "XCLIENT", "XFORWARD", "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "PATCH", "TRACE",
  ]
}
