// Explorer: breadth-first search over the shipped `Session`, to closure.
//
// A session is a hashable value whose equal states have equal futures, so visiting each state once and every edge out
// of it is a proof, for the policy it ran with, of whatever is checked on states and edges.

import SMTPState

/// The graph of all that can happen under one policy.
struct Explorer {
  /// One edge of the breadth-first tree.
  struct Arrival {
    let from: Int32
    let event: SessionEvent
    let command: Command
  }

  private(set) var states: [Session] = []
  /// How each state was first reached; the first has none.
  private(set) var arrivals: [Arrival?] = []
  private(set) var edges = 0
  /// Targets of every edge, and where those of each state begin: for the search backwards.
  private var targets: [Int32] = []
  private var firstTarget: [Int32] = []
  private var numbers: [Session: Int32] = [:]

  private let clientOctets = OctetClasses.classes(.client)
  private let serverOctets = OctetClasses.classes(.server)

  /// Walks everything that is reachable, calling `check` on every edge.
  init(
    _ policy: Policy, check: (_ from: Session, _ event: SessionEvent, _ command: Command, _ to: Session) -> Void
  ) {
    _ = number(of: Session(policy), nil)
    var current = 0
    while current < states.count {
      firstTarget.append(Int32(targets.count))
      let state = states[current]
      for event in events(in: state) {
        var next = state
        let command = event.apply(to: &next)
        check(state, event, command, next)
        edges += 1
        let arrival = Arrival(from: Int32(current), event: event, command: command)
        targets.append(number(of: next, arrival))
      }
      current += 1
    }
    firstTarget.append(Int32(targets.count))
    numbers = [:]
  }

  private mutating func number(of state: Session, _ arrival: Arrival?) -> Int32 {
    let fresh = Int32(states.count)
    let number = numbers[state, default: fresh]
    if number == fresh {
      numbers[state] = fresh
      states.append(state)
      arrivals.append(arrival)
    }
    return number
  }

  /// Everything that a caller may let happen in a state, and some of what it must not.
  private func events(in state: Session) -> [SessionEvent] {
    var events: [SessionEvent] = []
    switch state.interest {
    case .again:
      return [.next, .unavailable, .ended(.client), .secured(.failed), .drained, .expired(.clearPhase)]
    case .both:
      events += clientOctets.map { .octet(.client, $0) }
      events += serverOctets.map { .octet(.server, $0) }
    case .server:
      events += serverOctets.map { .octet(.server, $0) }
      events.append(.octet(.client, 0x41))
    case .drain, .none:
      events += [.octet(.client, 0x41), .octet(.server, 0x41)]
    }
    events += [.next, .ended(.client), .ended(.server), .drained, .unavailable]
    events += [.looked(nil, ended: false), .looked(nil, ended: true), .looked(0x16, ended: false), .looked(0x41, ended: false)]
    events += [.secured(.established), .secured(.failed)]
    events += [.restarted(.greeting), .restarted(.ready), .restarted(.failed)]
    events += [.expired(.clearPhase), .expired(state.deadline)]
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

  /// The states from which none of the wanted ones can be reached.
  func statesWithoutWay(to isWanted: (Session) -> Bool) -> [Int] {
    // The edges turned round: where the sources of each target begin, then the sources.
    var first = [Int32](repeating: 0, count: states.count + 1)
    for target in targets { first[Int(target) + 1] += 1 }
    for index in 1..<first.count { first[index] += first[index - 1] }
    var sources = [Int32](repeating: 0, count: targets.count)
    var place = first
    for state in 0..<states.count {
      for edge in Int(firstTarget[state])..<Int(firstTarget[state + 1]) {
        let target = Int(targets[edge])
        sources[Int(place[target])] = Int32(state)
        place[target] += 1
      }
    }
    var hasWay = states.map(isWanted)
    var queue = hasWay.indices.filter { hasWay[$0] }
    while let state = queue.popLast() {
      for edge in Int(first[state])..<Int(first[state + 1]) where !hasWay[Int(sources[edge])] {
        hasWay[Int(sources[edge])] = true
        queue.append(Int(sources[edge]))
      }
    }
    return hasWay.indices.filter { !hasWay[$0] }
  }
}
