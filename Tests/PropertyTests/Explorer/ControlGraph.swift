// ControlGraph: the session over whole lines. Its nodes are the states in which the session waits; its edges are what can
// happen then, with all the commands that it leads to. Small enough to be drawn, and its shortest ways can be read.

@testable import SMTPState
@testable import SessionKit

struct ControlGraph {
  /// What can happen to a session that waits.
  enum Happening: Hashable {
    case says(Side, String)
    case event(SessionEvent)

    var description: String {
      switch self {
      case .says(let side, let line): "\(side == .client ? "C:" : "S:") \(line)"
      case .event(let event): "\(event)"
      }
    }
  }

  struct Edge {
    let from: Int
    let happening: Happening
    let commands: [Command]
    let to: Int
  }

  private(set) var states: [SMTPSession]
  private(set) var edges: [Edge] = []
  /// The edge by which each state was first reached.
  private var arrivals: [Int?] = [nil]
  private let begin: SMTPSession

  /// Explores all states under a policy. `observe` gets each command with the effects that are left on the agenda after it.
  init(_ policy: Policy, observing observe: (Command, Agenda) -> Void = { _, _ in }) {
    begin = SMTPSession(policy)
    states = [begin]
    var numbers = [begin: 0]
    var current = 0
    while current < states.count {
      for happening in ControlGraph.happenings(in: states[current]) {
        var next = states[current]
        let commands = ControlGraph.let(happening, happenTo: &next, observe)
        let number = numbers[next, default: states.count]
        if number == states.count {
          numbers[next] = number
          states.append(next)
          arrivals.append(edges.count)
        }
        edges.append(Edge(from: current, happening: happening, commands: commands, to: number))
      }
      current += 1
    }
  }

  /// The shortest way to an edge, that edge included.
  func way(to edge: Edge) -> [Edge] {
    var way = [edge]
    while let arrival = arrivals[way[0].from] { way.insert(edges[arrival], at: 0) }
    return way
  }

  /// Lets something happen and fetches all that it leads to.
  private static func `let`(
    _ happening: Happening, happenTo session: inout SMTPSession, _ observe: (Command, Agenda) -> Void
  ) -> [Command] {
    var commands: [Command] = []
    func note(_ command: Command) {
      observe(command, session.agenda)
      if command != .keep && command != .drop(.client) { commands.append(command) }
    }
    switch happening {
    case .event(let event):
      note(event.apply(to: &session))
    case .says(let side, let line):
      var octets = (line == tlsRecord ? [0x16] : Array(line.utf8))[...]
      octets += [0x0D, 0x0A]
      if line.hasPrefix("BDAT 2") { octets += Array("ab".utf8) }
      while !octets.isEmpty, session.interest != .again {
        let rest = Array(octets)
        let step = session.receive(rest.span, from: side.party(in: session))
        note(step.command)
        if step.consumed == 0 { break }
        octets = octets.dropFirst(step.consumed)
      }
    }
    while session.interest == .again { note(session.nextCommand()) }
    return commands
  }

  private static let tlsRecord = "(a TLS record)"

  private static let clientLines = [
    "EHLO x", "HELO x", "LHLO x", "STARTTLS", "STARTTLS x", "MAIL FROM:<>", "RCPT TO:<x>", "BDAT 2", "BDAT 9", "BDAT x",
    "NOOP", "AUTH PLAIN", "QUIT", "QUIT x", "XCLIENT x", "GET / HTTP/1.1", "FOO", "", "BAD\0", tlsRecord,
  ]

  private static let serverLines = [
    "220 x", "220-x", "221 x", "235 x", "250 x", "250-x", "250 AUTH", "250-STARTTLS", "334 x", "354 x", "421 x", "421-x",
    "454 x", "550 x", "550-x", "???",
  ]

  private static func happenings(in session: SMTPSession) -> [Happening] {
    var all: [Happening] = []
    if session.interest == .both { all += clientLines.map { .says(.client, $0) } }
    if session.interest == .both || session.interest == .server { all += serverLines.map { .says(.server, $0) } }
    if session.isFinal { return [] }
    var events: [SessionEvent] = [.ended(.client), .ended(.server), .unavailable]
    if let timer = session.deadline { events.append(.expired(timer)) }
    if !session.isClearPhaseOver { events.append(.expired(.clearPhase)) }
    switch session.phase {
    case .peekingBeforeReset, .peekingAtServer, .peekingAtClient:
      events += [.peeked(nil, ended: false), .peeked(nil, ended: true), .peeked(0x16, ended: false), .peeked(0x41, ended: false)]
    case .promised: events.append(.drained)
    case .handshaking: events += [.secured(.established), .secured(.failed)]
    case .restarting: events += [.restarted(.greeting), .restarted(.ready), .restarted(.failed)]
    default: break
    }
    // Once each, to show it: a server that was replaced, and an answer that nobody asked for.
    if session.phase == .regreeting { events.append(.otherEnded) }
    if session.phase == .greeting { events.append(.secured(.failed)) }
    return all + events.map { .event($0) }
  }
}
