// DialogueChecks: what must be true of every session's dialogue, whatever the kernel answered.
//
// - One decision, and the helper, the record and the host agree about it (P1).
// - The client receives whole lines that some server sent, unaltered, in order, none twice and none lost in between; or
//   replies of the session's own. Nothing comes after a 421, and nothing but TLS after the 220 to STARTTLS (P3, P5).
// - A server receives lines that the client sent, in order, and from the decisive one on every octet (P6). Nothing that
//   was sent in clear reaches a server that was started after the handshake (P2).
// - The record says how the session ended, and the reason is never the driver's own misuse.

import PropertyKit
import SMTPState
import Transport

extension SessionOutcome {
  /// Throws what is wrong.
  func check(_ scenario: Scenario) throws {
    do {
      try checkDecision()
      try checkRecord()
      try checkHeard(scenario)
      for index in servers.indices { try checkServer(index, scenario) }
    } catch let falsified as Falsified {
      throw Falsified("\(falsified.message)\n\(self)")
    }
  }

  private func expect(_ isTrue: Bool, _ complaint: @autoclosure () -> String) throws {
    if !isTrue { throw Falsified(complaint()) }
  }

  // MARK: The decision and the record

  private func checkDecision() throws {
    let notified = helperCommands.filter { $0 == UInt8(ascii: "Y") }.count
    try expect(notified == helperCommands.count && notified <= handoffs, "the helper received \(helperCommands)")
    guard let record else { return try expect(handoffs == 0 && aborts.isEmpty, "decided without a session") }
    try expect(handoffs + aborts.count == 1, "\(handoffs) handoffs and \(aborts.count) aborts")
    switch record.decision {
    case .handoff: try expect(handoffs == 1, "the record has a handoff that was none")
    case .abort(let proof): try expect(aborts == [proof], "the record has another proof")
    case .cutOff: try expect(record.end == .outputStalled || record.end == .stopped, "cut off, and yet \(record.end!)")
    case .implicit: throw Falsified("implicit TLS, and yet a dialogue in clear")
    case nil: throw Falsified("no decision in the record")
    }
  }

  private func checkRecord() throws {
    guard let record else { return }
    try expect(record.end != .closed(.misuse) && aborts != [.misuse], "misuse")
    // After QUIT, and the first line of a 421, something else may still happen.
    let isWithoutServer = isLearnt && aborts == [.mail] && record.end == .closed(.serverEnded)
    if case .closed(let reason)? = record.end, let proof = aborts.first, proof != .quit, proof != .serverRefused, !isWithoutServer {
      try expect(reason == proof, "closed for \(reason), aborted for \(proof)")
    }
    try expect(record.tls != nil || !isSecure || record.end != .relayed, "TLS that the record does not know")
    try expect(record.sent >= clearDialogue.count + secure.count, "sent \(record.sent)")
    try expect(record.received <= sentInClear.count + sentInside.count, "received \(record.received)")
  }

  // MARK: What the client received

  /// What came in clear up to the 220 to STARTTLS.
  var clearDialogue: [UInt8] { Array(clear.prefix(clear.count - after220.count)) }

  /// What came after it, outside TLS.
  private var after220: ArraySlice<UInt8> {
    let promise = Array(ownText(.readyForTLS).utf8)
    guard let start = clear.indices.first(where: { clear[$0...].starts(with: promise) }) else { return [] }
    return clear[(start + promise.count)...]
  }

  private func checkHeard(_ scenario: Scenario) throws {
    try expect(tunnelFailure != "clear text after the 220", "clear text after the 220")
    if let first = after220.first {
      try expect(first == 0x15 || first == 0x16, "clear text after the 220")
    }
    var received: [String] = []
    for octets in [clearDialogue, secure] {
      let (lines, rest) = SessionOutcome.lines(octets)
      try expect(rest.isEmpty || faults > 0 || mayBeRelay, "half a line: \(rest)")
      if let last = lines.firstIndex(where: { $0.hasPrefix("421 ") }) {
        try expect(last == lines.count - 1 && rest.isEmpty, "text after a 421")
      }
      received += lines
    }
    let sent = servers.flatMap { SessionOutcome.lines($0.sent).lines }
    for line in received where !SessionOutcome.isMarked(line) {
      let isSaid = SessionOutcome.unmarked.contains(line) || sent.contains(line)
      try expect(isSaid, "a line that nobody sent: \(line.debugDescription)")
    }
    for index in servers.indices { try checkMarks(index, received) }
  }

  /// The session has ended in a relay, as far as the decision and the end say.
  private var mayBeRelay: Bool { aborts == [.mail] || isSecure }

  /// What the client received of a server: a beginning of what that server sent, but for one reply at most that is the session's
  /// own affair (to RSET, or the greeting of a new server).
  private func checkMarks(_ index: Int, _ received: [String]) throws {
    let sent = SessionOutcome.lines(servers[index].sent).lines.filter(SessionOutcome.isMarked)
    let received = received.filter { SessionOutcome.isMarked($0) && $0.contains(" s\(index)n") }
    var position = 0
    var skipped = 0
    for line in received {
      while position < sent.count, !SessionOutcome.isSame(line, sent[position]) {
        position += 1
        skipped += 1
      }
      try expect(position < sent.count, "altered, repeated or out of order: \(line.debugDescription)")
      position += 1
    }
    try expect(skipped <= 1, "\(skipped) lines of server \(index) are missing")
  }

  /// The same line, the fourth octet of a 250 apart.
  private static func isSame(_ received: String, _ sent: String) -> Bool {
    received == sent || received.hasPrefix("250") && sent.hasPrefix("250") && received.dropFirst(4) == sent.dropFirst(4)
  }

  /// Whether a server has marked it; the mark is the last word.
  private static func isMarked(_ line: String) -> Bool {
    guard let word = line.split(separator: " ").last, word.first == "s", word.hasSuffix("\r\n") else { return false }
    return word.contains("n") && word.dropFirst().first?.isNumber == true
  }

  /// Lines without a mark: the session's own, and the keywords of a reply to EHLO.
  private static let unmarked: Set<String> = {
    var lines = Set(Reply.allCases.map { ownText($0) })
    for keyword in ["SIZE 1000", "STARTTLS", "AUTH PLAIN", "HELP"] {
      lines.insert("250 \(keyword)\r\n")
      lines.insert("250-\(keyword)\r\n")
    }
    return lines
  }()

  // MARK: What a server received

  private func checkServer(_ index: Int, _ scenario: Scenario) throws {
    let (received, rest) = SessionOutcome.lines(servers[index].received)
    let isReset = scenario.policy.serverReset == .rset
    let sent = isReset ? sentInClear + sentInside : index > 0 ? sentInside : sentInClear
    // The session sends RSET as well, once for each STARTTLS.
    let inClear = SessionOutcome.lines(sentInClear).lines
    let lines = SessionOutcome.lines(sent).lines.map(SessionOutcome.withCRLF)
    let switches = isReset ? inClear.filter { $0.hasPrefix("STARTTLS") }.count : 0
    let resets = lines.filter { $0 == "RSET\r\n" }.count + switches
    try expect(received.filter { $0 == "RSET\r\n" }.count <= resets, "server \(index) received too many RSETs")
    let relayed = received.firstIndex { !SessionOutcome.isWatched($0) }
    var position = 0
    // A chunk in clear is skipped.
    func isChunk(_ position: Int) -> Bool {
      let isInClear = position < inClear.count && (isReset || index == 0)
      return isInClear && position > 0 && lines[position - 1].hasPrefix("BDAT")
    }
    for line in received[..<(relayed ?? received.count)] where line != "RSET\r\n" {
      while position < lines.count, lines[position] != line || isChunk(position) { position += 1 }
      try expect(position < lines.count, "server \(index) received what was not sent: \(line.debugDescription)")
      position += 1
    }
    guard let relayed else {
      let isBeginning = (lines + ["RSET\r\n"]).contains { $0.hasPrefix(rest) }
      return try expect(isBeginning || rest.isEmpty, "server \(index) received half of something else: \(rest)")
    }
    // From there on the relay copies octets.
    let tail = received[(relayed + 1)...].joined() + rest
    let isContinued = sent.indices.contains { start in
      guard start == 0 || sent[start - 1] == UInt8(ascii: "\n") else { return false }
      let end = sent[start...].firstIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? sent.endIndex
      let line = String(decoding: sent[start..<end], as: UTF8.self)
      return SessionOutcome.withCRLF(line) == received[relayed] && sent[end...].starts(with: tail.utf8)
    }
    try expect(isContinued, "the relay to server \(index) is not exact")
  }

  /// Whether a line leaves the session in charge. MAIL, and inside TLS every verb that is not known, begin the relay.
  private static func isWatched(_ line: String) -> Bool {
    let verb = line.prefix { !" \t\r\n".unicodeScalars.contains($0.unicodeScalars.first!) }.uppercased()
    return ["EHLO", "HELO", "LHLO", "RSET", "NOOP", "VRFY", "EXPN", "HELP", "ETRN", "AUTH", "QUIT"].contains(verb)
  }

  // MARK: Lines

  /// Lines with their ends, and what is after the last one.
  static func lines(_ octets: [UInt8]) -> (lines: [String], rest: String) {
    var lines: [String] = []
    var rest = octets[...]
    while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
      lines.append(String(decoding: rest[...end], as: UTF8.self))
      rest = rest[(end + 1)...]
    }
    return (lines, String(decoding: rest, as: UTF8.self))
  }

  private static func withCRLF(_ line: String) -> String {
    let octets = Array(line.utf8)
    guard octets.last == UInt8(ascii: "\n"), octets.dropLast().last != UInt8(ascii: "\r") else { return line }
    return String(decoding: octets.dropLast(), as: UTF8.self) + "\r\n"
  }
}

/// A reply of the session's own.
func ownText(_ reply: Reply) -> String { String(decoding: reply.octets, as: UTF8.self) }
