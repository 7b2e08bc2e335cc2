// PlayedSession: an `SMTPSession` with its holds, as a value: it can be copied before an event, and two of them can be compared.
//
// It carries out each command as its documentation says, without a buffer of a limited size.

import SMTPState
import Transport

struct PlayedSession: Equatable {
  private var session: SMTPSession
  private var client: [UInt8] = []
  private var reply: [UInt8] = []
  private var earlier: [UInt8] = []
  private var server = SMTPSession.Party.server

  init(_ policy: SMTPSession.Policy) {
    session = SMTPSession(policy)
  }

  /// Plays one event.
  ///
  /// - Returns: what the session did, in order.
  mutating func play(_ event: Recording.Event) -> [Recording.Deed] {
    var deeds: [Recording.Deed] = []
    switch event {
    case .received(let side, let octets): receive(octets, from: side, &deeds)
    case .other(.inputEnded(.client)): carryOut(session.inputEnded(from: .client), &deeds)
    case .other(.inputEnded(_)): carryOut(session.inputEnded(from: server), &deeds)
    case .other(.drained): carryOut(session.outputDrained(), &deeds)
    case .other(.tlsUnavailable): carryOut(session.tlsUnavailable(), &deeds)
    case .other(.peeked(let octet, ended: let ended)): carryOut(session.peeked(octet, ended: ended), &deeds)
    case .other(.handshakeFinished(let outcome)): carryOut(session.handshakeFinished(outcome), &deeds)
    case .other(.serverRestarted(let outcome)):
      if outcome != .failed { server = .newServer }
      carryOut(session.serverRestarted(outcome), &deeds)
    case .other(.timerExpired(let timer)): carryOut(session.timerExpired(timer), &deeds)
    }
    return deeds
  }

  private mutating func receive(_ octets: [UInt8], from side: Recording.Side, _ deeds: inout [Recording.Deed]) {
    var rest = octets[...]
    while !rest.isEmpty {
      let step = session.receive(rest.span, from: side == .client ? .client : server)
      guard step.consumed > 0 else { return }
      let taken = rest.prefix(step.consumed)
      rest = rest.dropFirst(step.consumed)
      if case .drop = step.command {} else if side == .client { client += taken } else { reply += taken }
      carryOut(step.command, &deeds)
    }
  }

  private mutating func carryOut(_ first: Command, _ deeds: inout [Recording.Deed]) {
    carryOutOne(first, &deeds)
    while session.interest == .again { carryOutOne(session.nextCommand(), &deeds) }
  }

  private mutating func carryOutOne(_ command: Command, _ deeds: inout [Recording.Deed]) {
    func decide(_ decision: SMTPConversation.Decision) { deeds.append(.decided(decision.words)) }
    switch command {
    case .keep: break
    case .drop(.client): client = []
    case .drop(.reply): reply = []
    case .forward:
      deeds.append(.wrote(.server, PlayedSession.withLineEnd(client)))
      client = []
    case .pass(let separator):
      deeds.append(.wrote(.client, PlayedSession.replyLine(reply, separator)))
      reply = []
    case .passEarlier(let separator):
      deeds.append(.wrote(.client, PlayedSession.replyLine(earlier, separator)))
      earlier = []
    case .stash:
      earlier = reply
      reply = []
    case .reply(let own):
      deeds.append(.wrote(.client, Array(Octet.of(own.text))))
      client = []
    case .resetServer: deeds.append(.wrote(.server, Array("RSET\r\n".utf8)))
    case .peek(let party): decide(.peek(party))
    case .endServer:
      (reply, earlier) = ([], [])
      decide(.endServer)
    case .restart: decide(.restart)
    case .handoff(let proof): decide(.handoff(proof))
    case .abort(let reason): decide(.abort(reason))
    case .relay:
      decide(.relay)
      if !client.isEmpty { deeds.append(.wrote(.server, client)) }
      if !reply.isEmpty { deeds.append(.wrote(.client, reply)) }
      (client, reply) = ([], [])
    case .close(let reason):
      (client, reply, earlier) = ([], [], [])
      decide(.close(reason))
    }
  }

  /// Without its LF and a CR before that, then CRLF.
  private static func withLineEnd(_ line: [UInt8]) -> [UInt8] {
    var text = line
    if text.last == 0x0A { text.removeLast() }
    if text.last == 0x0D { text.removeLast() }
    return text + [0x0D, 0x0A]
  }

  /// The fourth octet as the command gives it.
  private static func replyLine(_ line: [UInt8], _ separator: ReplySeparator) -> [UInt8] {
    var text = Array(withLineEnd(line).dropLast(2))
    let octet: UInt8
    switch separator {
    case .kept: return text + [0x0D, 0x0A]
    case .hyphen: octet = UInt8(ascii: "-")
    case .space: octet = 0x20
    }
    if text.count > 3 { text[3] = octet } else { text.append(octet) }
    return text + [0x0D, 0x0A]
  }
}
