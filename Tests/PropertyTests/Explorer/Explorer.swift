// Explorer: breadth-first search over the shipped `SMTPSession`, to closure.
//
// A session is a hashable value whose equal states have equal futures, so visiting each state once and every edge out
// of it is a proof, for the policy it ran with, of whatever is checked on states and edges.

import SMTPState

@testable import SessionKit

/// The graph of all that can happen under one policy.
struct Explorer {
  /// One edge of the breadth-first tree.
  struct Arrival {
    let from: Int32
    let event: SessionEvent
    let command: Command
  }

  private(set) var states = StateTable<SMTPSession>()
  /// How each state was first reached; the first has none.
  private(set) var arrivals: [Arrival?] = []
  private(set) var edges = 0
  private let clientOctets = OctetClasses.classes(.client)
  private let serverOctets = OctetClasses.classes(.server)

  /// Walks everything that is reachable, calling `check` on every edge.
  init(
    _ policy: Policy, check: (_ from: SMTPSession, _ event: SessionEvent, _ command: Command, _ to: SMTPSession) -> Void
  ) {
    put(SMTPSession(policy), nil)
    var current = 0
    while current < states.count {
      let state = states[current]
      for event in events(in: state) {
        var next = state
        let command = event.apply(to: &next)
        check(state, event, command, next)
        edges += 1
        put(next, Arrival(from: Int32(current), event: event, command: command))
      }
      current += 1
    }
  }

  private mutating func put(_ state: SMTPSession, _ arrival: Arrival?) {
    if states.insert(state).isNew { arrivals.append(arrival) }
  }

  /// Everything that a caller may let happen in a state, and some of what it must not.
  private func events(in state: SMTPSession) -> [SessionEvent] {
    var events: [SessionEvent] = []
    switch state.interest {
    case .again:
      return [.next, .unavailable, .ended(.client), .secured(.failed), .drained, .expired(.clearPhase), .otherEnded]
    case .both:
      events += clientOctets.map { .octet(.client, $0) }
      events += serverOctets.map { .octet(.server, $0) }
    case .server:
      events += serverOctets.map { .octet(.server, $0) }
      events.append(.octet(.client, 0x41))
    case .drain, .nothing:
      events += [.octet(.client, 0x41), .octet(.server, 0x41)]
    }
    events += [.next, .ended(.client), .ended(.server), .drained, .unavailable, .octetOfOther(0x41), .otherEnded]
    events += [.peeked(nil, ended: false), .peeked(nil, ended: true), .peeked(0x16, ended: false), .peeked(0x41, ended: false)]
    events += [.secured(.established), .secured(.failed)]
    events += [.restarted(.greeting), .restarted(.ready), .restarted(.failed)]
    events.append(.expired(.clearPhase))
    if let timer = state.deadline { events.append(.expired(timer)) }
    return events
  }

  /// The events that lead to a state from the start, and what each came to.
  func path(to state: Int) -> [Arrival] {
    var path: [Arrival] = []
    var current = state
    while let arrival = arrivals[current] {
      path.append(arrival)
      current = Int(arrival.from)
    }
    return path.reversed()
  }
}
