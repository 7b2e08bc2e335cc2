// ReferenceChecks: a session that met a fault, against the same session without one.
//
// A fault that any kernel may answer at any time (fewer octets, EINTR, "not now") changes nothing that anybody can see.
// An error may end the session early, and then what both sides received is a beginning of what they receive otherwise. After
// that beginning the client may receive one more thing: the closing reply of the session; or 454 to STARTTLS, if it was
// the look or the reset that failed, and then whatever its QUIT leads to.

import PropertyKit
import SMTPState
import Transport

extension SessionOutcome {
  /// After a fault that is none.
  func checkSame(as reference: SessionOutcome) throws {
    if !looksLike(reference) { throw Falsified("it is not the same:\n\(self)\n-- but should be:\n\(reference)") }
  }

  /// After an error.
  ///
  /// - Parameter note: what the call does when it does not fail.
  func checkShortened(of reference: SessionOutcome, _ note: CallNote?) throws {
    do {
      try checkReplies(clearDialogue, reference.clearDialogue)
      try checkReplies(secure, reference.secure)
      guard servers.count <= reference.servers.count else { throw Falsified("more servers") }
      for (server, other) in zip(servers, reference.servers) {
        guard SessionOutcome.isBeginning(server.received, of: other.received) else {
          throw Falsified("a server received something else")
        }
      }
      try checkEnd(reference, note)
    } catch let falsified as Falsified {
      throw Falsified("\(falsified.message):\n\(self)\n-- without the fault:\n\(reference)")
    }
  }

  private func checkReplies(_ received: [UInt8], _ other: [UInt8]) throws {
    let (replies, rest) = SessionOutcome.replies(received)
    let (expected, last) = SessionOutcome.replies(other)
    let same = zip(replies, expected).prefix { $0 == $1 }.count
    let tail = Array(replies[same...])
    if !rest.isEmpty {
      let next = same < expected.count ? expected[same] : last
      guard tail.isEmpty && next.hasPrefix(rest) || SessionOutcome.isOwn(beginning: rest) else {
        throw Falsified("half a reply that was not due: \(rest.debugDescription)")
      }
    }
    guard let first = tail.first else { return }
    let isAsExpected: Bool
    switch first.prefix(4) {
    // 451 is what one of the servers answers to its second command: RSET, or QUIT if RSET was never sent.
    case "454 ": isAsExpected = tail.count == 1 || tail.count == 2 && ["221 ", "421 ", "451 "].contains(tail[1].prefix(4))
    // Own ones only, alone: the server's own 421 is in the reference.
    case "421 ", "221 ": isAsExpected = tail.count == 1 && SessionOutcome.isOwn(beginning: first)
    default: isAsExpected = false
    }
    if !isAsExpected { throw Falsified("replies that were not due: \(tail)") }
  }

  /// A beginning; or one up to a line's end and then the QUIT of a client that was refused TLS.
  private static func isBeginning(_ received: [UInt8], of other: [UInt8]) -> Bool {
    if other.starts(with: received) { return true }
    let same = zip(received, other).prefix { $0 == $1 }.count
    // QUIT may share its first letters with no text that is sent here.
    return Array("QUIT\r\n".utf8).starts(with: received[same...])
  }

  /// The reason fits: it is the client that is lost if it was the client's call that failed, and only then.
  private func checkEnd(_ reference: SessionOutcome, _ note: CallNote?) throws {
    guard let end = record?.end, let note else { return }
    switch note.subject {
    case .client:
      let isFitting = end == .clientLost || end == .closed(.tlsFailed) || end == reference.record?.end
      if !isFitting { throw Falsified("the client's connection failed, and the record says \(end)") }
    case .server:
      if end == .clientLost && reference.record?.end != .clientLost {
        throw Falsified("the server's connection failed, and the record says \(end)")
      }
    case .helper, nil: break
    }
  }

  private static func isOwn(beginning text: String) -> Bool {
    Reply.allCases.contains { ownText($0).hasPrefix(text) }
  }

  /// Whole replies, and what is after the last one.
  private static func replies(_ octets: [UInt8]) -> (replies: [String], rest: String) {
    let (lines, rest) = lines(octets)
    var replies: [String] = []
    var reply = ""
    for line in lines {
      reply += line
      if line.utf8.dropFirst(3).first == UInt8(ascii: "-") { continue }
      replies.append(reply)
      reply = ""
    }
    return (replies, reply + rest)
  }
}
