// Promises: P1 to P7 as statements about a play, whoever thought of it: PromiseTests asks for random dialogues, and
// a fuzzer for its own.

import PropertyKit
import SMTPState

extension Play {
  /// Where among the deeds the handoff is.
  var handoff: Int? { caller.deeds.firstIndex { $0.words == "handoff" } }

  fileprivate var decisions: [String] {
    caller.deeds.lazy.map(\.words).filter { $0 == "handoff" || $0.hasPrefix("abort ") }
  }
}

enum Promises {
  // MARK: - P1

  /// At any time: one decision or none, and the session knows which.
  static func atMostOneDecision(_ play: Play) throws {
    let made = play.decisions
    if made.count > 1 { throw Falsified("P1: more than one decision: \(made)") }
    let isOver = play.caller.session.isClearPhaseOver
    if isOver != (made.count == 1) { throw Falsified("P1: isClearPhaseOver is \(isOver) after \(made)") }
  }

  /// At the end: one decision, and the close that belongs to it. Returns the decision in words.
  static func oneDecision(_ play: Play) throws -> String {
    guard play.caller.session.isFinal else { throw Falsified("P1: not finished: \(play.caller.session.phase)") }
    let made = play.decisions
    if made.count != 1 { throw Falsified("P1: finished with these decisions: \(made)") }
    if made[0].hasPrefix("abort "), let last = play.caller.deeds.last(where: { $0.words.hasPrefix("close ") }) {
      // Between the decision and the close only the reply to QUIT and the rest of a 421 have a place.
      let isSame = last.words == "close" + made[0].dropFirst(5)
      if !isSame, made[0] != "abort quit", made[0] != "abort server refused" {
        throw Falsified("P1: \(made[0]), but \(last.words)")
      }
    }
    let isRelayed = play.caller.deeds.contains { $0.words == "relay" }
    if isRelayed, made[0] != "handoff", made[0] != "abort mail" { throw Falsified("P1: \(made[0]), but a relay") }
    return made[0]
  }

  // MARK: - P2

  /// What is consumed never passes an accepted STARTTLS line, nothing is outstanding at a handoff, and no octet sent in
  /// clear is executed inside TLS.
  static func nothingCrosses(_ play: Play) throws {
    var clear: [UInt8] = []
    var server: [UInt8] = []
    var lines = 0
    for (index, deed) in play.caller.deeds.enumerated() {
      guard deed.words == "handoff" else {
        lines += deed.toServer.isEmpty || deed.words == "copied" ? 0 : 1
        continue
      }
      // The octets that came before it, from the events that led to it.
      for (event, after) in zip(play.events, play.deedsAfter) {
        if case .arrives(let arrival) = event { (clear, server) = (clear + arrival.client, server + arrival.server) }
        if after > index { break }
      }
      // `end server` makes the server's count begin again; the deed before it has the last.
      let taken = max(deed.serverTaken, play.caller.deeds[index - 1].serverTaken)
      let line = Latin(clear.prefix(deed.clientTaken)).lines.last ?? Latin(scalars: [])
      let words = line.split { $0 == " " || $0 == "\t" }.map(\.uppercased)
      let isAfterChunk = hasChunk(clear) && words.last?.hasSuffix("STARTTLS") == true
      if words != ["STARTTLS"], !isAfterChunk {
        throw Falsified("P2: a handoff after '\(line.string)'")
      }
      let replies = server.prefix(taken).split(separator: 0x0A).filter { $0.count < 4 || $0[$0.startIndex + 3] != 0x2D }
      if replies.count != lines + 1 {
        throw Falsified("P2: \(lines) lines forwarded, \(replies.count) replies at a handoff")
      }
      try nothingClearIsExecuted(play, after: index)
      return
    }
  }

  private static func nothingClearIsExecuted(_ play: Play, after handoff: Int) throws {
    // What the client sent inside TLS is the caller's stream of now.
    let inside = play.caller.client.octets
    let lines = Set(Latin(inside).lines.map(\.string))
    for deed in play.caller.deeds[(handoff + 1)...] where deed.words.hasPrefix("forward ") {
      let line = Latin(deed.toServer).withoutEnd.string
      let isAfterChunk = hasChunk(inside) && lines.contains { $0.hasSuffix(line) }
      if !lines.contains(line), !isAfterChunk {
        throw Falsified("P2: '\(line)' was executed inside TLS and not sent there")
      }
    }
  }

  /// Whether there may be a chunk in a stream: its octets have no line's end, and the last of them may stand before a
  /// line.
  private static func hasChunk(_ octets: [UInt8]) -> Bool {
    Latin(octets).lines.contains { $0.uppercased.hasPrefix("BDAT") }
  }

  // MARK: - P3

  /// After the 220 at `promise` nothing is sent until TLS is established. Returns whether it was established.
  static func silentAfterThe220(_ play: Play, at promise: Int) throws -> Bool {
    let handoff = play.handoff ?? Int.max
    var before = 0
    for (event, after) in zip(play.events, play.deedsAfter) {
      defer { before = after }
      if event == .secured(.established), handoff < before { return true }
      for deed in play.caller.deeds[before..<after].dropFirst(max(0, promise + 1 - before)) {
        if !deed.toClient.isEmpty { throw Falsified("P3: after the 220: \(deed)") }
      }
    }
    return false
  }

  /// The handoff comes after the 220, in a step of its own once that is with the kernel, and from there on the session
  /// is silent until the TLS layer has answered.
  static func handoffAfterThe220(_ play: Play, at handoff: Int) throws {
    let deeds = play.caller.deeds
    let before = deeds[..<handoff].last { $0.words != "end server" }
    if before?.words != "reply 220 2.0.0" { throw Falsified("P3: a handoff after \(before?.words ?? "nothing")") }
    var first = 0
    for (event, after) in zip(play.events, play.deedsAfter) {
      if (first..<after).contains(handoff), play.caller.byHand.drains, event != .drained {
        throw Falsified("P3: a handoff at \(event.name), before the 220 is with the kernel")
      }
      if case .secured = event, first > handoff { return }
      let spoken = deeds[first..<after].dropFirst(max(0, handoff + 1 - first)).first { !$0.toClient.isEmpty }
      if let spoken, after > handoff { throw Falsified("P3: between the handoff and TLS: \(spoken)") }
      first = after
    }
  }

  // MARK: - P4

  /// The same events with the octets cut otherwise: the same deeds, and the same state at the end.
  static func sameVerdict(_ play: Play, _ cut: Cuts) throws {
    var caller = Caller(play.policy, byHand: play.caller.byHand, cuts: cut)
    for (event, after) in zip(play.events, play.deedsAfter) {
      let before = caller.deeds.count
      caller.happen(event)
      let wanted = before <= after ? Array(play.caller.deeds[before..<after]) : []
      if Array(caller.deeds[before...]) != wanted {
        throw Falsified("P4: \(cut), after \(event.name):\n  whole \(wanted)\n  cut   \(Array(caller.deeds[before...]))")
      }
    }
    if caller.session != play.caller.session { throw Falsified("P4: \(cut): another state at the end") }
    if let violation = caller.violations.first { throw Falsified("P4: \(cut): \(violation)") }
  }

  // MARK: - P5

  /// Every line that went to the server has one reply, in order, and nothing of ours overtakes one.
  static func oneReplyEach(_ play: Play) throws {
    // The greeting.
    var pending = 1
    var isWithinReply = false
    for (index, deed) in play.caller.deeds.enumerated() {
      switch deed.words.prefix(while: { $0 != " " }) {
      case "forward": pending += 1
      case "pass" where deed.toClient.starts(with: Array("421".utf8)):
        // It may come at any time, and is the end.
        return
      case "pass":
        if pending == 0 { throw Falsified("P5: a reply to nothing: \(deed)") }
        isWithinReply = deed.toClient.count > 3 && deed.toClient[3] == 0x2D
        if !isWithinReply { pending -= 1 }
      case "reply" where deed.words.hasSuffix("STARTTLS"):
        if !isWithinReply { throw Falsified("P5: a keyword outside a reply") }
        if deed.words == "reply 250 STARTTLS" { (pending, isWithinReply) = (pending - 1, false) }
      case "reply":
        if isWithinReply { throw Falsified("P5: \(deed) within a reply") }
        if pending > 0, !isLast(index, play) { throw Falsified("P5: \(deed) overtakes \(pending) replies") }
      case "relay": return
      default: break
      }
    }
  }

  /// Whether a reply is the one that says why the connection closes.
  private static func isLast(_ index: Int, _ play: Play) -> Bool {
    play.caller.deeds[(index + 1)...].first?.words.hasPrefix("close ") == true
  }

  // MARK: - P6

  /// After the decisive line the octets of both sides go through as they came.
  static func exactRelay(_ play: Play) throws {
    guard let relay = play.caller.deeds.firstIndex(where: { $0.words == "relay" }) else { return }
    let deeds = play.caller.deeds[relay...]
    let (toServer, toClient) = (deeds.flatMap(\.toServer), deeds.flatMap(\.toClient))
    let (client, server) = (play.caller.client, play.caller.server)
    if !client.octets.prefix(client.taken).ends(with: toServer) { throw Falsified("P6: other octets to the server") }
    if !server.octets.prefix(server.taken).ends(with: toClient) { throw Falsified("P6: other octets to the client") }
    guard let first = deeds.first, client.taken - toServer.count <= first.clientTaken else { throw Falsified("P6: a gap") }
    if client.taken < client.octets.count || server.taken < server.octets.count { throw Falsified("P6: octets left") }
  }

  // MARK: - P7

  /// Something other than a timer can move the session, and a timer runs; or it is final and waits for nothing.
  static func canMove(_ play: Play) throws {
    let session = play.caller.session
    guard !session.isFinal else {
      if session.interest != .nothing || session.deadline != nil { throw Falsified("P7: a final phase waits") }
      return
    }
    if session.deadline == nil { throw Falsified("P7: \(session.phase) has no timer") }
    let awaitsAnswer = [.peekingBeforeReset, .peekingAtServer, .peekingAtClient, .handshaking, .restarting].contains(session.phase)
    if (session.interest == .nothing) != awaitsAnswer { throw Falsified("P7: \(session.phase) waits for \(session.interest)") }
    // Pending, waiting, or a line begun: the server is read in any case.
    guard session.phase == .negotiating || session.phase == .secured, session.deadline != .reply else { return }
    if !play.caller.client.isReported, session.interest != .both {
      throw Falsified("P7: nothing is pending and the client is not read")
    }
  }
}

extension Collection where Element: Equatable {
  fileprivate func ends(with other: [Element]) -> Bool { count >= other.count && suffix(other.count).elementsEqual(other) }
}
