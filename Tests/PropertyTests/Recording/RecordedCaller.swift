// RecordedCaller: a caller of an `ObservedConversation`, in memory, that makes a recording of the events of a test.
//
// As ConversationCaller, it reads the server before the client and answers decisions by itself unless the test does.

import PropertyKit
import SMTPState
import SessionRecording
import Transport

@testable import SessionKit

final class RecordedCaller {
  private struct Stream {
    var octets: [UInt8] = []
    var taken = 0
    var hasEnded = false
    var isReported = false
    var unread: ArraySlice<UInt8> { octets[taken...] }
  }

  private var conversation: ObservedConversation
  private let recorder: SessionRecorder
  private let byHand: ByHand
  private let spanLimit: Int
  private var client = Stream()
  private var server = Stream()
  private var party = Party.server
  private var isTLSAtWork = false
  private var isBetweenServers = false

  init(_ policy: Policy, byHand: ByHand, spanLimit: Int = .max, redaction: Redaction = Redaction(), limit: Int = 1 << 20) {
    conversation = ObservedConversation(policy)
    recorder = SessionRecorder(
      Recording(program: "test", session: "1", date: "2026-11-29T00:00:00Z", redaction: redaction, policy: policy), limit: limit, now: { 7 })
    conversation.observer = recorder
    self.byHand = byHand
    self.spanLimit = spanLimit
  }

  /// The recording. Nothing more may happen.
  func finish() -> Recording { recorder.finish("relayed") }

  func happen(_ event: Event) {
    switch event {
    case .arrives(let arrival):
      if !isTLSAtWork { client.octets += arrival.client }
      server.octets += arrival.server
      client.hasEnded = client.hasEnded || arrival.clientEnds
      server.hasEnded = server.hasEnded || arrival.serverEnds
    // No driver reads a server that was replaced.
    case .late: break
    case .peekedAsItIs: answerPeek(at: conversation.phase == .peekingAtServer ? .server : .client)
    case .peeked(let octet, let ended): conversation.peeked(octet, ended: ended)
    case .drained: send()
    case .unavailable: conversation.tlsUnavailable()
    case .secured(let outcome):
      if isTLSAtWork { client = Stream() }
      isTLSAtWork = false
      conversation.handshakeFinished(outcome)
    case .restarted(let outcome):
      if isBetweenServers, conversation.phase == .restarting, outcome != .failed {
        isBetweenServers = false
        party = .newServer
      }
      conversation.serverRestarted(outcome)
    case .expired(let kind): conversation.timerExpired(kind)
    }
    repeat { decide() } while move()
    conversation.releaseMemory()
  }

  private func move() -> Bool {
    if !byHand.drains || conversation.phase != .promised { send() }
    decide()
    return pull(.server) || pull(.client)
  }

  private func pull(_ side: Side) -> Bool {
    let stream = side == .client ? client : server
    let party = side == .client ? .client : self.party
    if stream.unread.isEmpty {
      let isFinal = conversation.phase == .relaying || conversation.phase == .closed
      guard stream.hasEnded, !stream.isReported, !isFinal, side == .client || !isBetweenServers else { return false }
      if side == .client { client.isReported = true } else { server.isReported = true }
      conversation.inputEnded(from: party)
      return true
    }
    guard conversation.wants(party) else { return false }
    let consumed = conversation.receive(Array(stream.unread.prefix(spanLimit)).span, from: party)
    if side == .client { client.taken += consumed } else { server.taken += consumed }
    return consumed > 0
  }

  /// The kernel takes some octets at a time.
  private func send() {
    for side in [Party.server, .client] {
      while conversation.outputCount(to: side) > 0 { conversation.withOutput(to: side) { min($0.count, 7) } }
    }
  }

  private func decide() {
    while let decision = conversation.nextDecision() {
      switch decision {
      case .peek(let side): if !byHand.peeks { answerPeek(at: side) }
      case .handoff: isTLSAtWork = true
      case .endServer:
        server = Stream()
        isBetweenServers = true
      case .abort, .restart, .relay, .close: break
      }
    }
  }

  private func answerPeek(at side: Party) {
    let stream = side == .client ? client : server
    conversation.peeked(stream.unread.first, ended: stream.unread.isEmpty && stream.hasEnded)
  }
}
