// ControlExplorer: breadth-first search over the shipped `SMTPSession` with whole lines and events as edges, to closure.
//
// The nodes are sessions themselves, between lines and between two commands of one chain, so that what is checked on an
// edge is what the octets' explorer checks. Only the number of a reply's lines is folded, see
// `ControlAlphabet.foldLines`.

import SMTPState

@testable import SessionKit

struct ControlExplorer {
  private(set) var states = StateTable<SMTPSession>()
  private(set) var edges = 0
  /// What is broken: how often, and how it first came about.
  private(set) var broken: [String: (count: Int, way: [String])] = [:]

  /// How each state was first reached: from which, and by which of the tokens in it.
  private var arrivals: [(from: UInt32, token: UInt16)] = [(0, 0)]
  private let alphabet: ControlAlphabet
  private let commands: [[ControlToken]]

  /// Walks everything that is reachable by these commands of the client, which may differ by phase. The checks return
  /// what is broken, or nil.
  init(
    _ policy: Policy, commands: (Phase) -> [ControlToken],
    checkEdge: (_ from: SMTPSession, _ event: SessionEvent, _ command: Command, _ to: SMTPSession) -> String? =
      { _, _, _, _ in nil },
    checkState: (SMTPSession) -> String? = { _ in nil }
  ) {
    alphabet = ControlAlphabet(policy)
    self.commands = Phase.allCases.map(commands)
    var tokens: [ControlToken] = []
    _ = states.insert(SMTPSession(policy))
    var current = 0
    while current < states.count {
      let state = states[current]
      if let what = checkState(state) { note(what, at: current) }
      alphabet.tokens(in: state, commands: self.commands[Int(state.phase.rawValue)], into: &tokens)
      for (number, token) in tokens.enumerated() {
        var next = state
        var what: String?
        _ = token.apply(to: &next) { from, event, command, to in
          what = what ?? checkEdge(from, event, command, to)
        }
        if let what { note(what, at: current, token) }
        alphabet.foldLines(of: &next)
        edges += 1
        if states.insert(next).isNew { arrivals.append((UInt32(current), UInt16(number))) }
      }
      current += 1
    }
  }

  private mutating func note(_ what: String, at state: Int, _ token: ControlToken? = nil) {
    if broken[what] == nil { broken[what] = (0, (way(to: state) + [token].compactMap { $0 }).map { "\($0)" }) }
    broken[what]!.count += 1
  }

  /// What leads to a state from the start.
  private func way(to state: Int) -> [ControlToken] {
    var way: [ControlToken] = []
    var current = state
    var tokens: [ControlToken] = []
    while current != 0 {
      let arrival = arrivals[current]
      let from = states[Int(arrival.from)]
      alphabet.tokens(in: from, commands: commands[Int(from.phase.rawValue)], into: &tokens)
      way.append(tokens[Int(arrival.token)])
      current = Int(arrival.from)
    }
    return way.reversed()
  }
}
