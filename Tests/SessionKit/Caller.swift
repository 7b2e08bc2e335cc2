// Caller: a careful caller of `SMTPSession`, in memory.
//
// Carries out every command to the letter of its documentation and checks the session's side of the contract while it
// does: what is not as promised is a line in `violations`. Like a driver it reads the server before the client, and
// tells an end only when every octet before it is consumed.
//
// It can cut what it gives to `receive`: `peek` still sees all that has arrived, so a cut changes nothing but the spans.

import PropertyKit
import SMTPState

/// How the octets of the streams are cut into spans.
enum Cuts {
  case whole
  case everyOctet
  /// One cut, at this offset of all octets that this side ever sends.
  case at(Side, Int)
  /// Spans of 1 to so many octets, pseudo-random.
  case random(SplitMix, upTo: Int)
}

struct Caller {
  /// What one side sends.
  struct Stream {
    /// All that has arrived.
    var octets: [UInt8] = []
    /// How many of them are consumed.
    var taken = 0
    var hasEnded = false
    /// Whether the session knows that.
    var isReported = false
    /// Octets of this side that came before this stream: in clear, or from an old server.
    var before = 0

    var isEmpty: Bool { taken == octets.count }
    var unread: ArraySlice<UInt8> { octets[taken...] }

    mutating func startOver() { self = Stream(before: before + octets.count) }
  }

  let policy: Policy
  let byHand: ByHand
  private let clientHoldCapacity: Int
  private let replyHoldCapacity: Int
  private(set) var cuts: Cuts
  private(set) var session: SMTPSession

  private(set) var client = Stream()
  private(set) var server = Stream()

  private(set) var clientHold: [UInt8] = []
  private(set) var replyHold: [UInt8] = []
  private(set) var earlierHold: [UInt8] = []

  /// Everything that was done, in order.
  private(set) var deeds: [Deed] = []
  /// Every command, `keep` and `drop` included.
  private(set) var commands: [Command] = []
  /// What the session did against its contract.
  private(set) var violations: [String] = []
  /// What the server that is there is called. From `endServer` until the new one is there, neither has octets or an end.
  private(set) var serverParty = Party.server
  private var isBetweenServers = false
  private var isReplaced: Bool { isBetweenServers || serverParty == .newServer }
  /// Octets of the client that belong to the TLS layer: unread at the handoff, or come before it is established.
  private(set) var ciphertext: [UInt8] = []

  private var isTLSAtWork = false
  /// Whether the last complete line of the client began a chunk, whose octets have no lines.
  private var mayBeInChunk = false

  init(_ policy: Policy, byHand: ByHand = ByHand(), cuts: Cuts = .whole) {
    self.policy = policy
    self.byHand = byHand
    self.cuts = cuts
    clientHoldCapacity = policy.clientHoldCapacity
    replyHoldCapacity = policy.replyHoldCapacity
    session = SMTPSession(policy)
  }

  var toClient: [UInt8] { deeds.flatMap(\.toClient) }
  var toServer: [UInt8] { deeds.flatMap(\.toServer) }

  // MARK: - Events

  /// Lets something happen, and then does all there is to do.
  mutating func happen(_ event: Event) {
    switch event {
    case .arrives(let arrival): arrive(arrival)
    case .late(let octets, let ended): reportLate(octets, ended)
    case .peekedAsItIs: carryOut(answerToPeek(at: session.phase == .peekingAtServer ? .server : .client))
    case .peeked(let octet, let ended): carryOut(session.peeked(octet, ended: ended))
    case .drained: carryOut(session.outputDrained())
    case .unavailable: carryOut(session.tlsUnavailable())
    case .secured(let outcome): secure(outcome)
    case .restarted(let outcome): restart(outcome)
    case .expired(let deadline): carryOut(session.timerExpired(deadline))
    }
    settle()
  }

  private mutating func arrive(_ arrival: Arrival) {
    if isTLSAtWork { ciphertext += arrival.client } else { client.octets += arrival.client }
    server.octets += arrival.server
    client.hasEnded = client.hasEnded || arrival.clientEnds
    server.hasEnded = server.hasEnded || arrival.serverEnds
  }

  private mutating func secure(_ outcome: HandshakeOutcome) {
    if isTLSAtWork, !session.isFinal {
      isTLSAtWork = false
      client.startOver()
    }
    carryOut(session.handshakeFinished(outcome))
  }

  private mutating func restart(_ outcome: RestartOutcome) {
    if isBetweenServers, session.phase == .restarting, outcome != .failed {
      isBetweenServers = false
      serverParty = .newServer
    }
    carryOut(session.serverRestarted(outcome))
  }

  /// Nothing of a server that was replaced may change anything.
  private mutating func reportLate(_ octets: [UInt8], _ ended: Bool) {
    guard isReplaced else { return }
    let before = session
    if !octets.isEmpty {
      let step = session.receive(octets.span, from: .server)
      check(step.consumed == 0 && step.command == .keep, "\(step) for octets of a server that was replaced")
    }
    if ended {
      let command = session.inputEnded(from: .server)
      check(command == .keep, "\(command) for the end of a server that was replaced")
    }
    check(session == before, "a server that was replaced changed the session")
  }

  // MARK: - A turn

  private mutating func settle() {
    var moved = true
    while moved, !session.isFinal {
      moved = turn()
      check(session.interest != .again, "a chain of commands was left half done")
    }
    if session.phase == .relaying { copy() }
    if session.isFinal {
      let (interest, deadline) = (session.interest, session.deadline)
      check(interest == .nothing, "a final phase waits for \(interest)")
      check(deadline == nil, "a final phase runs the timer \(deadline?.words ?? "")")
    }
  }

  private mutating func turn() -> Bool {
    let interest = session.interest
    if interest == .drain, !byHand.drains {
      carryOut(session.outputDrained())
      return true
    }
    let wantsServer = interest == .server || interest == .both
    if wantsServer, pull(.server) { return true }
    if interest == .both, pull(.client) { return true }
    return tellEnd(of: .server) || tellEnd(of: .client)
  }

  private mutating func pull(_ side: Side) -> Bool {
    let stream = side == .client ? client : server
    if stream.isEmpty { return tellEnd(of: side) }
    let octets = Array(stream.unread.prefix(spanLength(side, stream)))
    let step = session.receive(octets.span, from: side == .client ? .client : serverParty)
    let taken = octets.prefix(step.consumed)
    checkConsumed(taken, of: octets, side, step.command)
    if side == .client {
      client.taken += taken.count
      clientHold += taken
    } else {
      server.taken += taken.count
      replyHold += taken
    }
    // What is dropped at once needs no room: octets of a chunk, the rest of a line that is too long.
    let held = step.command == .drop(side == .client ? .client : .reply) ? (0, 0) : (clientHold.count, replyHold.count)
    check(held.0 <= clientHoldCapacity, "the client's hold has \(held.0) octets at \(step.command)")
    check(held.1 <= replyHoldCapacity, "the reply hold has \(held.1) octets at \(step.command)")
    carryOut(step.command, from: side)
    return step.consumed > 0
  }

  private mutating func tellEnd(of side: Side) -> Bool {
    let stream = side == .client ? client : server
    guard stream.isEmpty, stream.hasEnded, !stream.isReported else { return false }
    if side == .server, isBetweenServers { return false }
    if side == .client { client.isReported = true } else { server.isReported = true }
    carryOut(session.inputEnded(from: side == .client ? .client : serverParty))
    return true
  }

  private mutating func spanLength(_ side: Side, _ stream: Stream) -> Int {
    switch cuts {
    case .whole: return stream.unread.count
    case .everyOctet: return 1
    case .at(side, let offset):
      let position = stream.before + stream.taken
      return position < offset ? min(offset - position, stream.unread.count) : stream.unread.count
    case .at: return stream.unread.count
    case .random(var generator, let most):
      let length = 1 + Int(generator.next() % UInt64(most))
      cuts = .random(generator, upTo: most)
      return min(length, stream.unread.count)
    }
  }

  // MARK: - Commands

  private mutating func carryOut(_ first: Command, from side: Side? = nil) {
    var command = first
    var length = 1
    while true {
      commands.append(command)
      if let answer = carryOutOne(command, side) {
        command = answer
      } else if session.interest == .again {
        command = session.nextCommand()
      } else {
        return
      }
      length += 1
      if length > 16 {
        check(false, "a chain of commands has no end: \(command)")
        return
      }
    }
  }

  /// Carries out one command; returns the command that an answer given at once led to.
  private mutating func carryOutOne(_ command: Command, _ side: Side?) -> Command? {
    var deed = Deed(words: command.words ?? "", clientTaken: client.taken, serverTaken: server.taken)
    var answer: Command?
    switch command {
    case .keep:
      return nil
    case .drop(.client):
      clientHold = []
      return nil
    case .drop(.reply):
      replyHold = []
      return nil
    case .stash:
      checkIsLine(replyHold, "stash")
      check(earlierHold.isEmpty, "stash onto a line that is already there")
      (earlierHold, replyHold) = (replyHold, [])
      return nil
    case .forward:
      checkIsLine(clientHold, "forward")
      deed.toServer = Self.withCRLF(clientHold)
      clientHold = []
    case .pass(let separator):
      checkIsLine(replyHold, "pass")
      deed.toClient = Self.replyLine(replyHold, separator)
      replyHold = []
    case .passEarlier(let separator):
      checkIsLine(earlierHold, "passEarlier")
      deed.toClient = Self.replyLine(earlierHold, separator)
      earlierHold = []
    case .reply(let reply):
      deed.toClient = Array(reply.octets)
      let isKeyword = reply == .starttlsKeyword || reply == .lastStarttlsKeyword
      check(!isKeyword || clientHold.isEmpty, "a line of the client is lost to \(reply)")
      clientHold = []
    case .resetServer:
      deed.toServer = Array("RSET\r\n".utf8)
    case .peek(let party):
      check(party != .newServer, "a peek at a new server")
      if !byHand.peeks { answer = answerToPeek(at: party == .client ? .client : .server) }
    case .endServer:
      isBetweenServers = true
      replyHold = []
      earlierHold = []
      server.startOver()
    case .restart, .abort, .close:
      break
    case .handoff:
      check(clientHold.isEmpty, "a handoff with octets in the client's hold")
      check(replyHold.isEmpty && earlierHold.isEmpty, "a handoff with octets of the server held")
      ciphertext += client.unread
      isTLSAtWork = true
    case .relay:
      deed.toServer = clientHold
      deed.toClient = earlierHold + replyHold
      (clientHold, replyHold, earlierHold) = ([], [], [])
    }
    deeds.append(deed)
    return answer
  }

  private mutating func answerToPeek(at side: Side) -> Command {
    let stream = side == .client ? client : server
    return session.peeked(stream.unread.first, ended: stream.isEmpty && stream.hasEnded)
  }

  private mutating func copy() {
    guard !client.isEmpty || !server.isEmpty else { return }
    let deed = Deed(
      words: "copied", toClient: Array(server.unread), toServer: Array(client.unread), clientTaken: client.taken,
      serverTaken: server.taken)
    client.taken = client.octets.count
    server.taken = server.octets.count
    deeds.append(deed)
  }

  /// The rule of `forward`: without its LF and a CR before it, then CRLF.
  private static func withCRLF(_ line: [UInt8]) -> [UInt8] {
    var text = line
    if text.last == 0x0A { text.removeLast() }
    if text.last == 0x0D { text.removeLast() }
    return text + [0x0D, 0x0A]
  }

  /// The rule of `pass`: the fourth octet as the command gives it.
  private static func replyLine(_ line: [UInt8], _ separator: ReplySeparator) -> [UInt8] {
    var text = Array(withCRLF(line).dropLast(2))
    let octet: UInt8
    switch separator {
    case .kept: return text + [0x0D, 0x0A]
    case .hyphen: octet = 0x2D
    case .space: octet = 0x20
    }
    if text.count > 3 { text[3] = octet } else { text.append(octet) }
    return text + [0x0D, 0x0A]
  }

  // MARK: - The contract

  private mutating func check(_ isKept: Bool, _ violation: @autoclosure () -> String) {
    if !isKept { violations.append(violation()) }
  }

  private mutating func checkIsLine(_ hold: [UInt8], _ command: String) {
    check(hold.last == 0x0A, "\(command) without a line in the hold: \(Notation.encoded(hold))")
  }

  private mutating func checkConsumed(_ taken: ArraySlice<UInt8>, of octets: [UInt8], _ side: Side, _ command: Command) {
    check(!taken.isEmpty, "nothing consumed of \(octets.count) octets of the \(side), which is wanted")
    check(taken.count <= octets.count, "more consumed than there was")
    let isOneLine = !taken.dropLast().contains(0x0A)
    let mayBeChunk = side == .client && mayBeInChunk
    check(isOneLine || mayBeChunk, "more than a line of the \(side) consumed at once")
    guard side == .client, taken.last == 0x0A else { return }
    if mayBeInChunk, command == .keep || command == .drop(.client) { return }
    let line = clientHold + taken
    mayBeInChunk = String(decoding: line.prefix(5), as: UTF8.self).uppercased().hasPrefix("BDAT")
  }
}
