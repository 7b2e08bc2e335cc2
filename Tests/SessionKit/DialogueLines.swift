// DialogueLines: what the generator's client and server send, well-behaved and not.

import PropertyKit
import SMTPState

// MARK: - The client

extension Dialogue {
  func clientLine(_ session: SMTPSession) -> [UInt8] {
    if misbehaves() { return hostileLine() }
    let isSecured = session.phase == .secured
    let greeting = policy.mailProtocol == .lmtp ? "LHLO" : "EHLO"
    let line = choices.weighted([
      (6, "\(greeting) c.example"), (isSecured ? 1 : 6, "STARTTLS"), (3, "NOOP"), (2, "RSET"), (1, "VRFY x"),
      (1, "EXPN l"), (1, "HELP"), (1, "ETRN d"), (2, "HELO c"), (3, "AUTH PLAIN"), (2, "QUIT"),
      (isSecured ? 2 : 1, "MAIL FROM:<>"), (1, "EHLO x"), (1, "LHLO x"), (1, "RCPT TO:<a>"), (1, "DATA"),
      (1, "STARTTLS x"), (1, "QUIT x"), (1, "XCLIENT A=1"), (1, "XFORWARD A=1"), (1, "FOO bar"), (1, "GET / HTTP/1.1"),
      (1, "dGVzdA=="), (1, "*"), (1, ""), (2, "BDAT"),
    ])
    return (line == "BDAT" ? chunk() : casing(Array(line.utf8))) + lineEnd()
  }

  /// BDAT and what follows it: its chunk, or something that must not be taken for commands.
  private func chunk() -> [UInt8] {
    let size = choices.one(of: [0, 3, 7, 8, 30, 31, 65_536, 65_537])
    let tail = choices.one(of: ["", " LAST", " last", " ", " LAST x", " L"])
    let payload = choices.weighted([
      (3, String(repeating: "x", count: min(size, 31))), (1, "STARTTLS\r\n"), (1, "MAIL FROM:<>\r\n"), (1, ""),
    ])
    return Array("BDAT \(size)\(tail)".utf8) + lineEnd() + Array(payload.utf8)
  }

  private func lineEnd() -> [UInt8] { choices.happens(1, of: 12) ? [0x0A] : [0x0D, 0x0A] }

  private func casing(_ line: [UInt8]) -> [UInt8] {
    guard choices.happens(1, of: 8) else { return line }
    return line.map { (0x41...0x5A).contains($0) && choices.below(2) == 1 ? $0 + 32 : $0 }
  }

  private func hostileLine() -> [UInt8] {
    let verb = Array(
      choices.one(of: [
        "STARTTLS", "MAIL", "BDAT", "EHLO", "QUIT", "AUTH", "NOOP", "RSET", "TRACE", "DELETE", "LHLO", "HELO",
      ]).utf8)
    switch choices.below(11) {
    case 0: return verb + Array(choices.one(of: ["X", "", " ", "\t", "\t \t", "\u{0B}"]).utf8) + lineEnd()
    case 1: return verb.dropLast() + lineEnd()
    case 2:
      // An octet that makes a line malformed, anywhere in it.
      var line = verb + Array(" a".utf8)
      line.insert(choices.one(of: [0x0D, 0x00, 0x0A]), at: choices.below(line.count + 1))
      return line + lineEnd()
    case 3:
      // Around the limits.
      let limit = choices.one(of: [policy.commandLineLimit, policy.responseLineLimit])
      let length = min(limit, 3_000) - 3 - verb.count + choices.below(4)
      return verb + [0x20] + Array(repeating: 0x61, count: max(0, length)) + lineEnd()
    case 4: return [0x16, 0x03, 0x01]
    case 5: return choices.octets(upTo: 8)
    case 6: return [choices.one(of: [0x20, 0x09])] + verb + lineEnd()
    case 7:
      let line = choices.one(of: [
        "BDAT", "BDAT ", "BDAT x", "BDAT -1", "BDAT 1 2", "BDAT 99999999999999999999", "BDAT\t2\tLAST \r\nab",
        "bdat 007\r\n1234567",
        "BDAT 4294967296", "BDAT 18446744073709551617 LAST", "BDAT 00000000000000000000000003\r\nabc",
      ])
      return Array(line.utf8) + lineEnd()
    case 8: return choices.octets(upTo: 4) + lineEnd()
    case 9: return verb + [0x0D] + verb + lineEnd()
    default: return lineEnd()
    }
  }
}

// MARK: - The server

extension Dialogue {
  func answer(to verb: String) -> [UInt8] {
    if misbehaves() { return hostileReply() }
    switch verb {
    case "greeting": return reply(choices.weighted([(18, "220"), (1, "554"), (1, "421"), (1, "250")]), ["be"])
    case "EHLO", "LHLO":
      let keywords = (0..<choices.below(4)).map { _ in keyword() }
      return reply(choices.weighted([(12, "250"), (1, "501"), (1, "251"), (1, "421")]), ["be.example"] + keywords)
    case "AUTH": return reply(choices.weighted([(4, "334"), (3, "235"), (2, "535"), (1, "354"), (1, "250")]), ["ok"])
    case "QUIT": return reply(choices.weighted([(6, "221"), (1, "421"), (1, "500")]), ["bye"])
    case "RSET": return reply(choices.weighted([(10, "250"), (2, "500"), (1, "451"), (1, "421")]), ["ok"])
    default: return reply(choices.weighted([(10, "250"), (2, "502"), (1, "252"), (1, "450"), (1, "421")]), ["ok"])
    }
  }

  private func keyword() -> String {
    choices.one(of: [
      "8BITMIME", "STARTTLS", "AUTH PLAIN", "AUTH=PLAIN", "XCLIENT NAME", "XFORWARD", "REQUIRETLS", "auth login", "StartTLS",
      "STARTTLSX", "AUTHX", "SIZE", "REQUIRETLS\tx", "", "AUTH", "STARTTLS=1", "auth=", "XCLIENTS", " AUTH",
    ])
  }

  private func reply(_ code: String, _ words: [String]) -> [UInt8] {
    var lines = words
    while lines.count < 6, choices.happens(1, of: 8) { lines.append("more") }
    var octets: [UInt8] = []
    for (index, line) in lines.enumerated() {
      let isLast = index == lines.count - 1
      let isCodeAlone = isLast && choices.happens(1, of: 10)
      octets += Array((isCodeAlone ? code : "\(code)\(isLast ? " " : "-")\(line)").utf8) + lineEnd()
    }
    return octets
  }

  func hostileReply() -> [UInt8] {
    switch choices.below(9) {
    case 0: return Array("250 unasked\r\n".utf8)
    case 1: return Array("421\(choices.one(of: [" ", "-"]))going down\r\n".utf8)
    case 2: return Array("250-a\r\n\(choices.one(of: ["251", "421", "220", "550"])) b\r\n".utf8)
    case 3:
      let line = choices.one(of: [
        "HTTP/1.1 400\r\n", "25\r\n", "\r\n", "1", "199 x\r\n", "699 x\r\n", "250x\r\n", "2\n", "25\r5", "25\r", "\r",
      ])
      return Array(line.utf8)
    case 4:
      var line = Array("250 abc\r\n".utf8)
      line.insert(choices.one(of: [0x0D, 0x00, 0x0A, 0xFF]), at: choices.below(line.count + 1))
      return line
    case 5:
      let length = min(policy.replyLineLimit, 3_000) - 8 + choices.below(5)
      return Array("250 ".utf8) + Array(repeating: 0x61, count: max(0, length)) + lineEnd()
    case 6: return (0...choices.below(9)).flatMap { _ in Array("250-x\r\n".utf8) }
    case 7: return choices.octets(upTo: 6)
    default:
      return Array(choices.one(of: ["354 go\r\n", "334 x\r\n", "4", "421-a\r\n421-b\r\n421 c\r\n", "300-a\r\n"]).utf8)
    }
  }
}
