// SMTPDFuzz: the server's side of SMTP with any input of a client and any failure of its storage.
//
// The first octet holds options: 1 and 2 what opening a message comes to, 4 and 8 committing it, 16 and 32 writing it:
// 0 it goes well, 1 there is no room, 2 it is broken. 64 the size of a message is limited. What means nothing must be zero.

import PropertyKit
import MaildirSMTPD

public enum SMTPDFuzz {
  /// - Returns: whether the octets have options that mean something.
  public static func run(_ octets: [UInt8]) throws -> Bool {
    guard let options = octets.first, options < 128, options & 3 < 3, options >> 2 & 3 < 3, options >> 4 & 3 < 3 else {
      return false
    }
    let said = Array(octets.dropFirst())
    let whole = try play(said, options, piece: max(1, said.count))
    // What fails while it is written fails at a place in the caller's buffer, which is a matter of the cut.
    let isCutSeen = options >> 4 & 3 != 0
    for piece in [1, 3] {
      let cut = try play(said, options, piece: piece)
      if cut.events != whole.events, !isCutSeen { throw Falsified("in pieces of \(piece): \(cut.events)\n  not \(whole.events)") }
    }
    return true
  }

  private static func play(_ said: [UInt8], _ options: UInt8, piece: Int) throws -> ScriptedSession {
    var policy = ScriptedSession.policy
    if options & 64 == 0 { policy.sizeLimit = 0 }
    var session = ScriptedSession(policy: policy)
    session.opening = failure(options & 3)
    session.committing = failure(options >> 2 & 3)
    session.writing = failure(options >> 4 & 3)
    session.send(said, cutAt: [piece])
    if let violation = session.violations.first { throw Falsified(violation) }
    try checkMessages(session.messages, said, limit: policy.sizeLimit)
    try checkReplies(session.events)
    for (event, answer) in zip(session.events, session.events.dropFirst() + ["silence"]) where event.hasPrefix("store ") {
      if answer.hasPrefix("250 ") != (session.committing == nil) { throw Falsified("\(answer) after \(event)") }
    }
    return session
  }

  private static func failure(_ number: UInt8) -> Dialogue.StorageFailure? { [nil, .full, .broken][Int(number)] }

  /// Each message that was stored is there in what the client sent, line by line, with its end, one after the other: none
  /// is made of a part of another, or ends elsewhere.
  private static func checkMessages(_ messages: [[UInt8]], _ said: [UInt8], limit: Int) throws {
    var rest = lines(said)[...]
    for message in messages {
      if !message.isEmpty, message.last != 0x0A { throw Falsified("a message without its last line's end") }
      if limit > 0, message.count + message.count(where: { $0 == 0x0A }) > limit { throw Falsified("a message over the limit") }
      let wanted = message.split(separator: 0x0A, omittingEmptySubsequences: false).dropLast() + [[]]
      let place = rest.indices.first { start in
        let there = rest[start...].prefix(wanted.count)
        return there.count == wanted.count && there.last == [UInt8(ascii: ".")]
          && zip(there, wanted).dropLast().allSatisfy { isSame($0, $1) }
      }
      guard let place else { throw Falsified("a message that nobody sent: \(message)") }
      rest = rest[(place + wanted.count)...]
    }
  }

  /// A dot in front of a line is not part of it, unless it is all of it: then it is the end.
  private static func isSame(_ wire: [UInt8], _ line: ArraySlice<UInt8>) -> Bool {
    wire.first == UInt8(ascii: ".") ? wire.count > 1 && wire.dropFirst() == line : wire[...] == line
  }

  /// What CRLF ends, without it.
  private static func lines(_ octets: [UInt8]) -> [[UInt8]] {
    var lines: [[UInt8]] = [[]]
    for octet in octets {
      if octet == 0x0A, lines[lines.count - 1].last == 0x0D {
        lines[lines.count - 1].removeLast()
        lines.append([])
      } else {
        lines[lines.count - 1].append(octet)
      }
    }
    return lines.dropLast()
  }

  /// Each is a reply of RFC 5321, with an enhanced code of its class but for those that have none.
  private static func checkReplies(_ events: [String]) throws {
    for event in events where !["begin ", "abandon", "store "].contains(where: event.hasPrefix) {
      let lines = event.split(separator: "|")
      let code = event.prefix(3)
      let isReply = code.count == 3 && code.allSatisfy { $0.isASCII && $0.isNumber } && "2345".contains(code.first ?? "x")
      if !isReply || lines.contains(where: { $0.prefix(3) != code }) { throw Falsified("no reply: \(event)") }
      let hasCode = event.dropFirst(4).hasPrefix("\(event.prefix(1)).")
      if !hasCode, code != "354", code != "250" { throw Falsified("a reply without an enhanced code: \(event)") }
    }
  }
}
