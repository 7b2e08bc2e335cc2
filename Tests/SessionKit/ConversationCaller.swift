// ConversationCaller: a caller of `SMTPConversation`, in memory, through the same events as Caller.swift and the oracle.
//
// It keeps no hold and edits no octet: it sends what the conversation has for each side, takes what was consumed, and
// answers decisions. What comes out is compared with the oracle: all octets to each side, and each decision at its place
// among them.

import SMTPState

final class ConversationCaller {
  /// One side's input.
  struct Stream {
    var octets: [UInt8] = []
    var taken = 0
    var hasEnded = false
    var isReported = false
    var unread: ArraySlice<UInt8> { octets[taken...] }
  }

  /// A decision in the words of `Command.words`, and how many octets each side was sent before it.
  struct Decided: Equatable, CustomStringConvertible {
    var words: String
    var toClient: Int
    var toServer: Int
    var description: String { "\(words) [after \(toClient) to the client, \(toServer) to the server]" }
  }

  private var conversation: SMTPConversation
  private let byHand: ByHand
  private let spanLimit: Int
  private(set) var client = Stream()
  private(set) var server = Stream()
  private(set) var toClient: [UInt8] = []
  private(set) var toServer: [UInt8] = []
  private(set) var decided: [Decided] = []
  private var isTLSAtWork = false
  private var isRelaying = false
  /// What the server that is there is called. From `endServer` until the new one is there, neither has octets or an end.
  private var serverParty = Party.server
  private var isBetweenServers = false

  init(_ policy: Policy, byHand: ByHand, spanLimit: Int) {
    conversation = SMTPConversation(policy)
    self.byHand = byHand
    self.spanLimit = spanLimit
  }

  var phase: Phase { conversation.phase }
  var deadline: Deadline? { conversation.deadline }

  func happen(_ event: Event) {
    switch event {
    case .arrives(let arrival):
      if !isTLSAtWork {
        client.octets += arrival.client
      }
      server.octets += arrival.server
      client.hasEnded = client.hasEnded || arrival.clientEnds
      server.hasEnded = server.hasEnded || arrival.serverEnds
    case .late(let octets, let ended):
      guard isBetweenServers || serverParty == .newServer else { break }
      if !octets.isEmpty { _ = conversation.receive(octets.span, from: .server) }
      if ended { conversation.inputEnded(from: .server) }
    case .peekedAsItIs: answerPeek(at: conversation.phase == .peekingAtServer ? .server : .client)
    case .peeked(let octet, let ended): conversation.peeked(octet, ended: ended)
    case .drained: send(isAllowed: true)
    case .unavailable: conversation.tlsUnavailable()
    case .secured(let outcome):
      if isTLSAtWork && !conversation.isFinal {
        isTLSAtWork = false
        client = Stream()
      }
      conversation.handshakeFinished(outcome)
    case .restarted(let outcome):
      if isBetweenServers, conversation.phase == .restarting, outcome != .failed {
        isBetweenServers = false
        serverParty = .newServer
      }
      conversation.serverRestarted(outcome)
    case .expired(let kind): conversation.timerExpired(kind)
    }
    repeat { decide() } while move()
    conversation.releaseMemory()
  }

  private func move() -> Bool {
    send(isAllowed: !byHand.drains || conversation.phase != .promised)
    decide()
    if isRelaying {
      toClient += server.unread
      toServer += client.unread
      server.taken = server.octets.count
      client.taken = client.octets.count
      return false
    }
    return pull(.server) || pull(.client)
  }

  private func pull(_ side: Side) -> Bool {
    let stream = side == .client ? client : server
    let party = side == .client ? .client : serverParty
    if stream.unread.isEmpty {
      guard stream.hasEnded, !stream.isReported, !conversation.isFinal else { return false }
      if side == .server, isBetweenServers { return false }
      if side == .client { client.isReported = true } else { server.isReported = true }
      conversation.inputEnded(from: party)
      return true
    }
    guard conversation.wants(party) else { return false }
    let octets = Array(stream.unread.prefix(spanLimit))
    let consumed = conversation.receive(octets.span, from: party)
    if side == .client { client.taken += consumed } else { server.taken += consumed }
    return consumed > 0
  }

  /// Sends everything, some octets at a time.
  private func send(isAllowed: Bool) {
    for side in [Party.server, .client] {
      while conversation.outputCount(to: side) > 0 {
        var sent = 0
        conversation.withOutput(to: side) { octets in
          guard isAllowed else { return 0 }
          sent = min(octets.count, 7)
          for index in 0..<sent {
            if side == .client { toClient.append(octets[index]) } else { toServer.append(octets[index]) }
          }
          return sent
        }
        if sent == 0 { break }
      }
    }
  }

  private func decide() {
    while let decision = conversation.nextDecision() {
      note(decision)
      switch decision {
      case .peek(let side): if !byHand.peeks { answerPeek(at: side) }
      case .handoff: isTLSAtWork = true
      case .endServer:
        server = Stream()
        isBetweenServers = true
      case .relay:
        send(isAllowed: true)
        isRelaying = true
      case .abort, .restart, .close: break
      }
    }
  }

  private func answerPeek(at side: Party) {
    let stream = side == .client ? client : server
    conversation.peeked(stream.unread.first, ended: stream.unread.isEmpty && stream.hasEnded)
  }

  private func note(_ decision: Decision) {
    let words =
      switch decision {
      case .peek(let side): "peek \(side)"
      case .handoff: "handoff"
      case .abort(let reason): "abort \(reason.name)"
      case .endServer: "end server"
      case .restart: "restart"
      case .relay: "relay"
      case .close(let reason): "close \(reason.name)"
      }
    decided.append(
      Decided(
        words: words, toClient: toClient.count + conversation.outputCount(to: .client),
        toServer: toServer.count + conversation.outputCount(to: .server)))
  }

}
