// P5 on an edge: one reply each, in order.
//
// The promise is about a whole session, and here it is stated as a balance that every edge keeps, so that by induction it
// holds for every session. What is pending grows by 1 with a command forwarded, falls by 1 with a reply's last line, and
// changes by nothing else; a line of the client becomes exactly one thing, and what waits is taken up or falls to a
// closing reply.

@testable import SMTPState
@testable import SessionKit

extension EdgeChecks {
  static func oneReplyEach(_ from: SMTPSession, _ event: SessionEvent, _ command: Command, _ to: SMTPSession) -> String? {
    balanced(from, event, command, to) ?? lineAccounted(from, event, command, to)
      ?? waitingTakenUp(from, event, command, to) ?? answered(from, command, to)
      ?? nothingAfterTheEnd(from, event, command, to) ?? inOrder(from, command, to)
  }

  /// What is pending, while the session watches: one more for a forwarded command, one less for a reply's last line.
  private static func balanced(_ from: SMTPSession, _ event: SessionEvent, _ command: Command, _ to: SMTPSession) -> String? {
    if command == .resetServer, to.outstanding != 1 { return "P5: a RSET whose reply is not pending" }
    guard isWatching(to) else { return nil }
    var pending = Int(from.outstanding)
    if case .forward = command { pending += 1 }
    // A line that is no reply does not leave the session watching, and with a reply's last line its scanner begins
    // again.
    let isRead = from.interest == .both || from.interest == .server
    if event == .octet(.server, .lineFeed), isRead, to.server == ReplyScanner() { pending -= 1 }
    return Int(to.outstanding) == pending ? nil : "P5: \(to.outstanding) replies pending instead of \(pending)"
  }

  /// A complete line of the client is forwarded, or waits, or announces a chunk, or is answered: one of these.
  private static func lineAccounted(
    _ from: SMTPSession, _ event: SessionEvent, _ command: Command, _ to: SMTPSession
  ) -> String? {
    guard event == .octet(.client, .lineFeed), from.interest == .both, !from.client.isSkippingChunk else { return nil }
    let became = [isAnswer(command), to.waiting != nil, to.client.isSkippingChunk].count { $0 }
    return became == 1 ? nil : "P5: a line of the client became \(became) things"
  }

  /// A line that waits is taken up and answered, in an effect of its own, or falls to a close or to the server's 421.
  private static func waitingTakenUp(
    _ from: SMTPSession, _ event: SessionEvent, _ command: Command, _ to: SMTPSession
  ) -> String? {
    if to.waiting != nil && to.outstanding == 0 && to.interest != .again { return "P5: a line waits for nothing" }
    guard let line = from.waiting, to.waiting != line else { return nil }
    if to.waiting != nil { return "P5: one waiting line in the place of another" }
    if event == .next { return isAnswer(command) ? nil : "P5: a line taken up became \(command)" }
    return to.phase == .closed || to.phase == .refusing ? nil : "P5: a waiting line was lost"
  }

  /// An answer of ours is one, and STARTTLS gets its own.
  private static func answered(_ from: SMTPSession, _ command: Command, _ to: SMTPSession) -> String? {
    if case .reply(let reply) = command, reply != .starttlsKeyword, to.phase != .closed, to.agenda != Agenda(), to.agenda != Agenda(.settle) {
      return "P5: more after \(command)"
    }
    switch (from.phase, to.phase) {
    case (.peekingBeforeReset, .negotiating), (.resetting, .negotiating), (.peekingAtServer, .negotiating),
      (.peekingAtClient, .negotiating), (.peekingAtClient, .promised):
      if case .reply = command { return nil }
      return to.interest == .again ? nil : "P5: STARTTLS without an answer"
    default: return nil
    }
  }

  /// Nothing after QUIT or an accepted STARTTLS is taken up: the client is not read, and from QUIT no way leads back.
  private static func nothingAfterTheEnd(
    _ from: SMTPSession, _ event: SessionEvent, _ command: Command, _ to: SMTPSession
  ) -> String? {
    if to.interest == .both && !isWatching(to) { return "P5: the client is read in \(to.phase)" }
    if from.phase == .quitting || from.phase == .refusing, to.phase != from.phase, to.phase != .closed {
      return "P5: from \(from.phase) to \(to.phase)"
    }
    if case .octet(.client, _) = event, !isWatching(from), command != .keep || to != from {
      return "P5: an octet of the client was taken in \(from.phase)"
    }
    return nil
  }

  /// Nothing of ours while a reply is pending or half passed on, and nothing forwarded past a line that waits.
  private static func inOrder(_ from: SMTPSession, _ command: Command, _ to: SMTPSession) -> String? {
    switch command {
    case .reply(let reply):
      if from.isMidReply && reply != .starttlsKeyword && reply != .lastStarttlsKeyword { return "P5: \(reply) within a reply" }
      if to.phase != .closed && to.outstanding != 0 && reply != .starttlsKeyword { return "P5: \(reply) overtakes a reply" }
    case .forward(let verb):
      if to.waiting != nil { return "P5: \(verb) overtakes a waiting line" }
    case .keep, .drop, .pass, .stash, .passEarlier, .resetServer, .peek, .endServer, .restart, .handoff, .abort, .relay,
      .close:
      break
    }
    return nil
  }

  private static func isWatching(_ session: SMTPSession) -> Bool {
    session.phase == .negotiating || session.phase == .secured
  }

  /// Whether a command is how a line that was taken up is dealt with, or begins to be.
  private static func isAnswer(_ command: Command) -> Bool {
    switch command {
    case .forward, .reply, .resetServer, .peek, .abort, .close: true
    case .keep, .drop, .pass, .stash, .passEarlier, .endServer, .restart, .handoff, .relay: false
    }
  }
}
