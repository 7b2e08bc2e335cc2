// OracleServer: the replies.

import SMTPState

extension Oracle {
  /// Octets of the server wait, and are wanted.
  mutating func readServer() {
    if pending.isEmpty, phase != .refusing { isUnasked = true }
    switch judgement(of: server.line) {
    case .incomplete:
      server.taken = server.octets.count
    case .garbage(let count):
      server.judged += count
      server.taken = server.judged
      receivedGarbage()
    case .line(let count):
      let line = ReplyLine(Array(server.line.prefix(count)))
      server.judged += count
      server.taken = server.judged
      received(line)
    }
  }

  // MARK: - One line

  /// Every beginning of the line is looked at, so that the octet is found that makes it garbage.
  private func judgement(of octets: [UInt8]) -> ServerLine {
    for count in 1...octets.count where !isPlainText(octets, at: count - 1) {
      let beginning = Array(octets.prefix(count))
      if isGarbage(beginning) { return .garbage(count) }
      if beginning.last == 0x0A { return .line(count) }
    }
    return .incomplete
  }

  /// An octet of a line's text that neither ends it nor makes it garbage: not worth the look.
  private func isPlainText(_ octets: [UInt8], at index: Int) -> Bool {
    let special: [UInt8] = [0x00, 0x0A, 0x0D]
    guard index > 3, index + 1 < policy.replyLineLimit else { return false }
    return !special.contains(octets[index]) && !special.contains(octets[index - 1])
  }

  private func isGarbage(_ octets: [UInt8]) -> Bool {
    let text = Latin(octets)
    let isWhole = octets.last == 0x0A
    let body = text.withoutEnd
    // A CR at the end of what has come may still be followed by LF.
    let inside = isWhole || text.scalars.last != "\r" ? body : Latin(scalars: body.scalars.dropLast())
    if reply.count >= max(1, policy.replyLinesLimit) { return true }
    if inside.contains("\u{0}") || inside.contains("\r") { return true }
    if !isWhole, octets.count >= max(1, policy.replyLineLimit) { return true }

    // A line's end where a digit should be is garbage at its CR already: no octet after it can mend that.
    let code = text.prefix(3).scalars
    if let first = code.first, !("2"..."5").contains(first) { return true }
    if !code.allSatisfy({ ("0"..."9").contains($0) }) { return true }
    if code.count < 3 { return false }
    let kind = kindOfCode(Latin(scalars: code).string)
    if let first = reply.first, first.kind != kind { return true }
    if inside.scalars.count > 3, inside.scalars[3] != " ", inside.scalars[3] != "-" { return true }
    let mayAskForMore = pending.first == "AUTH" || pending.first == "response"
    return isWhole && code[0] == "3" && !mayAskForMore
  }

  private mutating func receivedGarbage() {
    let wasUnasked = isUnasked
    isUnasked = false
    if phase == .regreeting {
      close("restart failed", saying: "421 4.3.2")
    } else {
      close(wasUnasked ? "server unasked" : "server garbage", saying: "421 4.3.0")
    }
  }

  // MARK: - What becomes of it

  private mutating func received(_ line: ReplyLine) {
    let wasUnasked = isUnasked
    isUnasked = false
    switch phase {
    case .refusing:
      pass(line)
      if line.isLast { close("server refused") }
    case .quitting:
      pass(line)
      if line.isLast { close("quit") }
    case .regreeting:
      reply.append(line)
      if line.kind != "220" { return close("restart failed", saying: "421 4.3.2") }
      if line.isLast {
        replyIsOver()
        phase = .secured
      }
    case .greeting, .negotiating, .resetting, .secured:
      if line.kind == "421" {
        abort("server refused")
        pass(line)
        if line.isLast { close("server refused") } else { phase = .refusing }
      } else if wasUnasked {
        close("server unasked", saying: "421 4.3.0")
      } else {
        receivedAnswer(line)
      }
    case .peekingBeforeReset, .peekingAtServer, .peekingAtClient, .promised, .handshaking, .restarting, .relaying, .closed:
      break
    }
  }

  private mutating func receivedAnswer(_ line: ReplyLine) {
    let name = pending[0]
    if name == "RSET!" {
      reply.append(line)
    } else if name == "EHLO", line.kind == "250" {
      rewrite(line)
    } else {
      pass(line)
    }
    guard line.isLast else { return }
    replyIsOver()
    settle(name, line)
    takeUpIfItsTurn()
    closeIfAllIsDone()
  }

  private mutating func replyIsOver() {
    pending.removeFirst()
    reply = []
    passed = 0
  }

  /// What the last line of a reply settles.
  private mutating func settle(_ name: String, _ line: ReplyLine) {
    let isPositive = line.text.first == "2"
    switch name {
    case "greeting":
      greetingWas220 = line.kind == "220"
      phase = .negotiating
    case "EHLO" where line.kind == "250":
      if isInsideTLS { hasGreetedInsideTLS = true } else { hasAcceptedEHLO = true }
    case "HELO" where isPositive:
      if isInsideTLS { hasGreetedInsideTLS = true }
    case "AUTH", "response":
      isExchanging = line.kind == "334"
      if isPositive, !isInsideTLS { isAuthenticated = true }
    case "RSET!":
      if !isPositive {
        phase = .negotiating
        answer("454 4.3.0")
      } else if !isTLSAvailable {
        phase = .negotiating
        answer("454 4.7.0")
      } else {
        peek(at: .server, in: .peekingAtServer)
      }
    default: break
    }
  }

  private mutating func pass(_ line: ReplyLine) {
    reply.append(line)
    passed += 1
    deed("pass", toClient: line.sent(separator: nil))
  }

  /// All lines of the reply are rewritten once more, and what is new goes out.
  private mutating func rewrite(_ line: ReplyLine) {
    reply.append(line)
    var takenOut = ["STARTTLS", "XCLIENT", "XFORWARD"]
    if !isInsideTLS { takenOut += allowsAuthentication ? ["REQUIRETLS"] : ["REQUIRETLS", "AUTH"] }
    // STARTTLS goes out after the first line, or never: what becomes of TLS after that changes nothing.
    if passed == 0 { listsSTARTTLS = wouldAcceptSTARTTLS }
    let lines = rewritten(reply, isComplete: line.isLast, takenOut: takenOut, addsSTARTTLS: listsSTARTTLS)
    for text in lines.dropFirst(passed) {
      let isOurs = listsSTARTTLS && passed == 1
      deed(isOurs ? "reply \(Latin(text.dropLast(2)).string)" : "pass", toClient: text)
      passed += 1
    }
  }
}
