// Dialogue: the one generator of dialogues, realistic and hostile, for random cases, exhaustive ones and fuzzers.
//
// It plays all parties around a session: a client, a server that answers the lines that it was really sent (or
// misbehaves), timers, the TLS layer. What comes next depends on what a caller shows from outside, and on choices.
// DialogueLines.swift has the words.

import PropertyKit
import SMTPState

struct Dialogue {
  let choices: Choices
  let policy: Policy
  let byHand: ByHand
  /// How often one side misbehaves, of 100.
  let hostility: Int
  /// The verbs of the lines that the server was sent and has not answered, in capitals.
  var unanswered = ["greeting"]
  /// The rest of a reply that the server has begun to send.
  private var rest: [UInt8] = []
  private var clientHasEnded = false
  private var serverHasEnded = false
  /// Where everybody is on the way to without detours; nil when it is reached. Most of what is rare is after STARTTLS.
  private var goal: Phase?
  private var hasGreeted = false

  init(_ choices: Choices) {
    self.choices = choices
    policy = Self.policy(choices)
    byHand = ByHand(peeks: choices.happens(1, of: 6), drains: choices.happens(1, of: 6))
    hostility = choices.weighted([(5, 2), (3, 12), (2, 40)])
    goal = choices.weighted([
      (5, nil), (4, .secured), (1, .handshaking), (1, .promised), (1, .regreeting), (1, .resetting),
    ])
  }

  /// Both policies, both protocols, both ways to reset; limits as shipped or small enough to be met.
  static func policy(_ choices: Choices) -> Policy {
    var policy = Policy()
    if choices.happens(1, of: 4) { policy.security = .required }
    if choices.happens(1, of: 6) { policy.mailProtocol = .lmtp }
    if choices.happens(1, of: 2) { policy.serverReset = .rset }
    if !choices.happens(1, of: 5) { policy.bareLineFeed = .tolerate }
    if choices.happens(1, of: 3) { policy.allowsCleartextAuthentication = true }
    if choices.happens(1, of: 2) {
      policy.commandLineLimit = choices.one(of: [60, 24, 16])
      policy.responseLineLimit = choices.one(of: [40, 8])
      policy.replyLineLimit = choices.one(of: [60, 24])
      policy.replyLinesLimit = choices.one(of: [6, 3])
      policy.outstandingLimit = choices.one(of: [3, 1, 2])
      policy.junkLimit = choices.one(of: [2, 1, 4])
      policy.commandLimit = choices.one(of: [12, 4, 7])
      policy.chunkLimit = choices.one(of: [30, 7])
    }
    return policy
  }

  func misbehaves() -> Bool { choices.happens(hostility, of: 100) }
}

extension Dialogue {
  /// The next event, or nil if nothing can change any more.
  mutating func next(after caller: Caller) -> Event? {
    let session = caller.session
    if let event = detourless(session) { return event }
    switch session.phase {
    case .closed:
      return nil
    case .relaying:
      return choices.below(3) == 0 ? nil : relayed()
    case .handshaking:
      if choices.happens(1, of: 20) { return anyEvent(session) }
      return .secured(choices.happens(1, of: 10) ? .failed : .established)
    case .restarting:
      if misbehaves() { return anyEvent(session) }
      return .restarted(choices.weighted([(6, .greeting), (3, .ready), (1, .failed)]))
    case .peekingBeforeReset, .peekingAtServer, .peekingAtClient:
      if misbehaves() { return choices.below(2) == 0 ? .unavailable : anyEvent(session) }
      return .peekedAsItIs
    case .promised:
      return misbehaves() ? anyEvent(session) : .drained
    case .greeting, .negotiating, .resetting, .regreeting, .secured, .quitting, .refusing:
      return talk(session)
    }
  }

  /// The shortest way to the goal.
  private mutating func detourless(_ session: SMTPSession) -> Event? {
    guard let goal, session.phase != goal else {
      goal = nil
      return nil
    }
    switch session.phase {
    case .greeting, .regreeting:
      unanswered = []
      return .arrives(.server("220 be\r\n"))
    case .negotiating:
      if !unanswered.isEmpty {
        unanswered = []
        return .arrives(.server("250 be\r\n"))
      }
      defer { hasGreeted = true }
      return .arrives(.client(hasGreeted ? "STARTTLS\r\n" : policy.mailProtocol == .lmtp ? "LHLO c\r\n" : "EHLO c\r\n"))
    case .resetting:
      unanswered = []
      return .arrives(.server("250 ok\r\n"))
    case .peekingBeforeReset, .peekingAtServer, .peekingAtClient: return .peekedAsItIs
    case .promised: return .drained
    case .handshaking: return .secured(.established)
    case .restarting: return .restarted(goal == .regreeting || choices.below(2) == 1 ? .greeting : .ready)
    case .secured, .quitting, .refusing, .relaying, .closed:
      self.goal = nil
      return nil
    }
  }

  /// Tells what was done since the last event, so that the server knows what to answer.
  mutating func learn(_ deeds: some Sequence<Deed>) {
    for deed in deeds {
      switch deed.words {
      case "end server": (unanswered, rest, serverHasEnded) = ([], [], false)
      case "restart": unanswered = ["greeting"]
      case "handoff": clientHasEnded = false
      case "forward response": unanswered.append("AUTH")
      case _ where !deed.toServer.isEmpty:
        let word = deed.toServer.prefix { $0 != 0x20 && $0 != 0x0D && $0 != 0x09 }
        unanswered.append(String(decoding: word, as: UTF8.self).uppercased())
      default: break
      }
    }
  }

  private mutating func talk(_ session: SMTPSession) -> Event {
    if misbehaves() { return anyEvent(session) }
    let serverMay = !serverHasEnded && (!unanswered.isEmpty || !rest.isEmpty)
    let clientMay = !clientHasEnded && session.interest == .both
    switch (serverMay, clientMay) {
    case (true, true): return .arrives(choices.below(2) == 0 ? answers() : commands(session))
    case (true, false):
      // A client need not wait for the answer.
      let isEager = !clientHasEnded && choices.happens(1, of: 8)
      return .arrives(isEager ? commands(session) : answers())
    case (false, true): return .arrives(commands(session))
    case (false, false): return anyEvent(session)
    }
  }

  private mutating func anyEvent(_ session: SMTPSession) -> Event {
    switch choices.below(12) {
    case 0: return .unavailable
    case 1: return .expired(session.deadline ?? .command)
    case 2: return .expired(choices.one(of: Deadline.allCases))
    case 3 where !clientHasEnded:
      clientHasEnded = true
      let last = choices.below(2) == 0 ? [] : clientLine(session)
      return .arrives(Arrival(client: Array(last.dropLast(choices.below(2))), clientEnds: true))
    case 4 where !serverHasEnded:
      serverHasEnded = true
      return .arrives(Arrival(server: choices.below(2) == 0 ? [] : answers().server, serverEnds: true))
    case 5, 6, 7:
      return serverHasEnded ? .unavailable : .arrives(Arrival(server: hostileReply()))
    case 8:
      return .drained
    case 9 where !clientHasEnded && !serverHasEnded:
      // Both at once: the server is read first.
      return .arrives(Arrival(client: commands(session).client, server: answers().server))
    case 10:
      return choices.one(of: [
        .peeked(nil, ended: false), .peeked(0x16, ended: false), .peeked(0x4D, ended: false), .peeked(nil, ended: true),
        .secured(.established), .secured(.failed), .restarted(.ready), .restarted(.failed), .restarted(.greeting),
        .late(Array("250 late\r\n".utf8), ended: false), .late([], ended: true),
      ])
    default:
      return clientHasEnded ? .unavailable : .arrives(commands(session))
    }
  }

  private func relayed() -> Event {
    .arrives(
      Arrival(
        client: clientHasEnded ? [] : choices.octets(upTo: 6), server: serverHasEnded ? [] : choices.octets(upTo: 6)))
  }

  /// The rest of a reply, or replies to some of what is unanswered, or the beginning of them.
  private mutating func answers() -> Arrival {
    if rest.isEmpty {
      for _ in 0...choices.below(2) where !unanswered.isEmpty { rest += answer(to: unanswered.removeFirst()) }
    }
    let length = choices.happens(1, of: 6) ? choices.below(rest.count + 1) : rest.count
    let octets = Array(rest.prefix(length))
    rest.removeFirst(length)
    return Arrival(server: octets)
  }

  private func commands(_ session: SMTPSession) -> Arrival {
    var octets: [UInt8] = []
    for _ in 0...choices.weighted([(6, 0), (2, 1), (1, 3), (1, 6)]) { octets += clientLine(session) }
    if choices.happens(1, of: 12) { octets.removeLast(choices.below(octets.count + 1)) }
    return Arrival(client: octets)
  }
}
