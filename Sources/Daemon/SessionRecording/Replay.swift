// Replay: decides a recording again, with the machine of this program, and finds the first difference.
//
// 1. As recorded: the same events, to an `SMTPConversation` as the driver uses it.
// 2. Octet by octet: the same, with each octet as an event of its own.
// 3. At every cut: each run of octets is divided in two at each octet. What was done must be the same, and so must the state
//    afterwards: then everything after it is the same too. This uses `SMTPSession` (PlayedSession.swift).
//
// A run is played once more for each division, so the time grows with the square of its length. A stranger may have written the
// recording: where all divisions would take longer than a limit, the places are further apart.
//
// Failure: none. A recording that makes no sense differs somewhere.

import SMTPState
import Transport

/// The first place where a recording and its replay differ.
package struct Difference: Error, Hashable {
  /// How it was replayed.
  package enum Manner: Hashable, Sendable {
    case asRecorded
    case octetByOctet
    /// The run of octets was divided after so many of them.
    case dividedAfter(Int)
  }

  /// The event's line in the file.
  package let line: Int
  package let event: Recording.Event
  package let manner: Manner
  /// What the recording has; for a division, what was done without it.
  package let expected: [Recording.Deed]
  package let found: [Recording.Deed]
  /// What else is different.
  package var note: String?
}

package struct Replay {
  /// The most octets that are played for all divisions together. The divisions of 64 KiB in the longest runs that starttlsd records
  /// take a quarter of it.
  package static let octetsLimit = 1 << 32

  private let steps: [Recording.Step]
  private let recording: Recording
  private let isFull: Bool
  /// From one place where a run is divided to the next one, in octets.
  private let distance: Int

  package init(_ recording: Recording, octetsLimit: Int = Replay.octetsLimit) {
    self.recording = recording
    steps = recording.steps
    isFull = recording.entries.contains { $0.content == .full }
    let octets = steps.reduce(0) { $0 + $1.event.octetsCount * $1.event.octetsCount }
    distance = max(1, (octets + octetsLimit - 1) / octetsLimit)
  }

  /// How many events there are, and how many ways in which their octets are divided.
  package var counts: (events: Int, cuts: Int) {
    (steps.count, steps.reduce(0) { $0 + max(0, $1.event.octetsCount - 1 + distance - 1) / distance })
  }

  /// The places where the octets of an event are divided.
  private func places(in event: Recording.Event) -> StrideTo<Int> {
    stride(from: 1, to: max(1, event.octetsCount), by: distance)
  }

  /// The first difference, in any manner; nil if there is none.
  package func difference() -> Difference? {
    if recording.isImplicit { return nil }
    return whole(.asRecorded) ?? whole(.octetByOctet) ?? cuts()
  }

  /// What the machine does for each event, in this manner.
  private func whole(_ manner: Difference.Manner) -> Difference? {
    let collector = DeedCollector(recording.redaction)
    var player = ConversationPlayer(recording.policy, collector)
    for step in steps {
      var left = 0
      switch step.event {
      case .received(let side, let octets) where manner == .octetByOctet:
        for octet in octets { left += player.receive([octet], from: side) }
      case .received(let side, let octets): left = player.receive(octets, from: side)
      case .other(let event): player.happen(event)
      }
      let found = collector.takeDeeds()
      // At the end of a recording that is full, the last event may have led to more.
      let isCut = isFull && step.line == steps.last?.line
      if left > 0 || (isCut ? !found.normal.starts(with: step.deeds.normal) : found.normal != step.deeds.normal) {
        return Difference(
          line: step.line, event: step.event, manner: manner, expected: step.deeds.normal, found: found.normal,
          note: left > 0 ? "\(left) of its octets were not consumed" : nil)
      }
    }
    return nil
  }

  /// Divides each run of octets at its places.
  private func cuts() -> Difference? {
    var player = PlayedSession(recording.policy)
    for step in steps {
      var next = player
      let expected = next.play(step.event)
      if case .received(let side, let octets) = step.event {
        for count in places(in: step.event) {
          var other = player
          let found =
            other.play(.received(side, Array(octets.prefix(count)))) + other.play(.received(side, Array(octets.dropFirst(count))))
          guard found.normal != expected.normal || other != next else { continue }
          return Difference(
            line: step.line, event: step.event, manner: .dividedAfter(count), expected: expected.normal, found: found.normal,
            note: other != next ? "the state after it is not the same" : nil)
        }
      }
      player = next
    }
    return nil
  }
}

extension Recording.Event {
  fileprivate var octetsCount: Int {
    if case .received(_, let octets) = self { octets.count } else { 0 }
  }
}

/// Gives the events of a recording to a conversation, as a driver does.
private struct ConversationPlayer: ~Copyable {
  private var conversation: ObservedConversation
  private var server = SMTPSession.Party.server

  init(_ policy: SMTPSession.Policy, _ observer: any ConversationObserver) {
    conversation = ObservedConversation(policy)
    conversation.observer = observer
  }

  /// Returns how many octets were not consumed.
  mutating func receive(_ octets: [UInt8], from side: Recording.Side) -> Int {
    send()
    let consumed = conversation.receive(octets.span, from: side == .client ? .client : server)
    decide()
    return octets.count - consumed
  }

  mutating func happen(_ event: ConversationEvent) {
    if event != .drained { send() }
    switch event {
    case .inputEnded(let party): conversation.inputEnded(from: party == .client ? .client : server)
    case .drained: sendAll()
    case .tlsUnavailable: conversation.tlsUnavailable()
    case .peeked(let octet, ended: let ended): conversation.peeked(octet, ended: ended)
    case .handshakeFinished(let outcome): conversation.handshakeFinished(outcome)
    case .serverRestarted(let outcome):
      if outcome != .failed { server = .newServer }
      conversation.serverRestarted(outcome)
    case .timerExpired(let timer): conversation.timerExpired(timer)
    }
    decide()
  }

  /// The kernel accepts all output, unless the session waits for that: then `drained` says when.
  private mutating func send() {
    if conversation.interest != .drain { sendAll() }
  }

  private mutating func sendAll() {
    conversation.withOutput(to: .client) { $0.count }
    conversation.withOutput(to: .server) { $0.count }
  }

  /// The answers to decisions are events of the recording.
  private mutating func decide() {
    while conversation.nextDecision() != nil {}
  }
}
