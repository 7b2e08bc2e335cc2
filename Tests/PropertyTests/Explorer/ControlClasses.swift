// ControlClasses: the commands of a client that no session tells apart but by their names.
//
// Two are alike in a phase if from every state of it, at small limits, both lead to the same, whatever happens then:
// the two states are walked side by side until they are equal. That `forward` names their verbs is the one difference
// allowed. That two commands which are alike at small limits are alike at large ones is not proved; nothing in a session
// looks at a verb and at a number at once.

@testable import SMTPState
@testable import SessionKit

struct ControlClasses {
  /// One command of each class, by phase.
  private(set) var representatives: [Phase: [ControlToken]] = [:]

  private let alphabet: ControlAlphabet

  private struct Pair: Hashable {
    let one: SMTPSession
    let other: SMTPSession
  }

  init(_ policy: Policy) {
    var small = policy
    small.outstandingLimit = 2
    small.junkLimit = 1
    small.commandLimit = 3
    alphabet = ControlAlphabet(small)
    var readers: [Phase: [SMTPSession]] = [:]
    let graph = ControlExplorer(small) { [alphabet] _ in alphabet.commands }
    for state in graph.states where state.interest == .both { readers[state.phase, default: []].append(state) }
    for (phase, states) in readers {
      var kept: [ControlToken] = []
      for line in alphabet.commands where !kept.contains(where: { areAlike($0, line, in: states) }) {
        kept.append(line)
      }
      representatives[phase] = kept
    }
  }

  private func areAlike(_ line: ControlToken, _ another: ControlToken, in states: [SMTPSession]) -> Bool {
    var seen: Set<Pair> = []
    var queue: [Pair] = []

    /// Whether the same came of it, so far.
    func step(_ pair: Pair, _ token: ControlToken, _ otherToken: ControlToken) -> Bool {
      var (one, other) = (pair.one, pair.other)
      switch (token.apply(to: &one), otherToken.apply(to: &other)) {
      case (.forward, .forward): break
      case (let command, let otherCommand): if command != otherCommand { return false }
      }
      if one == other { return true }
      if one.interest != other.interest || one.deadline != other.deadline || one.phase != other.phase { return false }
      alphabet.foldLines(of: &one)
      alphabet.foldLines(of: &other)
      let next = Pair(one: one, other: other)
      if seen.insert(next).inserted { queue.append(next) }
      return true
    }

    for state in states where !step(Pair(one: state, other: state), line, another) { return false }
    var tokens: [ControlToken] = []
    while let pair = queue.popLast() {
      alphabet.tokens(in: pair.one, commands: alphabet.commands, into: &tokens)
      for token in tokens where !step(pair, token, token) { return false }
    }
    return true
  }
}
