// StateMachinePage: Docs/StateMachine.md, made from the graph of the shipped session.

@testable import SMTPState
@testable import SessionKit

enum StateMachinePage {
  /// The policies whose graphs are on the page. Limits are small: the page shows what there is, not how often.
  static func policies() -> [(String, Policy)] {
    var small = Policy()
    small.outstandingLimit = 1
    small.junkLimit = 1
    small.commandLimit = 4
    small.chunkLimit = 2
    small.replyLinesLimit = 3
    func with(_ change: (inout Policy) -> Void) -> Policy {
      var policy = small
      change(&policy)
      return policy
    }
    return [
      ("opportunistic, restart", small),
      ("opportunistic, RSET", with { $0.serverReset = .rset }),
      ("required, restart", with { $0.security = .required }),
      ("required, RSET", with { $0.security = .required; $0.serverReset = .rset }),
      ("opportunistic with AUTH in clear, RSET", with { $0.allowsCleartextAuthentication = true; $0.serverReset = .rset }),
      ("LMTP, restart", with { $0.mailProtocol = .lmtp }),
    ]
  }

  /// The whole page, and what of the vocabulary was not reached.
  static func make() -> (page: String, missing: [String]) {
    let graphs = policies().map { ($0.0, ControlGraph($0.1)) }
    var page = """
      # The state machine

      Made by `make docs` from the shipped `SMTPSession`; `make test` fails when it is out of date. What the names mean is in
      `Sources/SMTPState/Phase.swift`, `Command.swift`, `Reply.swift` and `Reason.swift`.

      Explored over whole lines, with small limits:

      | policy | states in which it waits | edges |
      |---|---|---|

      """
    for (name, graph) in graphs { page += "| \(name) | \(graph.states.count) | \(graph.edges.count) |\n" }
    page += diagram(graphs)
    let (ways, missing) = witnesses(graphs)
    page += ways
    page += table(graphs)
    return (page, missing)
  }

  // MARK: The diagram

  private static func diagram(_ graphs: [(String, ControlGraph)]) -> String {
    var labels: [String: Set<String>] = [:]
    for (_, graph) in graphs {
      for edge in graph.edges {
        let (from, to) = (graph.states[edge.from].phase, graph.states[edge.to].phase)
        guard from != to else { continue }
        labels["\(from) --> \(to)", default: []].formUnion(edge.commands.compactMap(landmark))
      }
    }
    var text = "\n## Phases\n\n```mermaid\nstateDiagram-v2\n  [*] --> greeting\n"
    for arrow in labels.keys.sorted() {
      let label = labels[arrow]!.sorted().joined(separator: ", ")
      text += label.isEmpty ? "  \(arrow)\n" : "  \(arrow): \(label)\n"
    }
    return text + "  relaying --> [*]\n  closed --> [*]\n```\n"
  }

  /// The commands that tell one arrow from another.
  private static func landmark(_ command: Command) -> String? {
    switch command {
    case .handoff: "handoff"
    case .abort(.mail), .abort(.quit), .peek, .resetServer, .restart, .endServer, .relay: spelled(command)
    case .reply(.readyForTLS): "220"
    default: nil
    }
  }

  // MARK: The witnesses

  /// The shortest dialogue for each phase, reply, reason to close, and proof of an abort.
  private static func witnesses(_ graphs: [(String, ControlGraph)]) -> (String, [String]) {
    var page = "\n## The shortest way to everything\n"
    var missing: [String] = []
    func section(_ title: String, _ names: [String], _ shows: (ControlGraph, ControlGraph.Edge) -> [String]) {
      page += "\n### \(title)\n\n"
      var best: [String: (policy: String, way: [ControlGraph.Edge])] = [:]
      for (policy, graph) in graphs {
        var seen: Set<String> = []
        for edge in graph.edges {
          for name in shows(graph, edge) where seen.insert(name).inserted {
            let way = graph.way(to: edge)
            if best[name].map({ $0.way.count > way.count }) ?? true { best[name] = (policy, way) }
          }
        }
      }
      for name in names {
        guard let (policy, way) = best[name] else {
          missing.append("\(title): \(name)")
          continue
        }
        page += "**\(name)** (\(policy))\n\n```\n"
        for edge in way {
          page += edge.happening.description.unescaped + "\n"
          for command in edge.commands { page += "    \(spelled(command))\n" }
        }
        page += "```\n\n"
      }
    }
    section("Phases", Phase.allCases.dropFirst().map { "\($0)" }) { graph, edge in ["\(graph.states[edge.to].phase)"] }
    section("Replies", Reply.allCases.map(text(of:))) { _, edge in
      edge.commands.compactMap { if case .reply(let reply) = $0 { text(of: reply) } else { nil } }
    }
    section("Proofs of an abort", Reason.allCases.filter { !isInsideTLSOnly($0) }.map { "\($0.name)" }) { _, edge in
      edge.commands.compactMap { if case .abort(let reason) = $0 { "\(reason.name)" } else { nil } }
    }
    section("Reasons to close", Reason.allCases.filter { $0 != .mail }.map { "\($0.name)" }) { _, edge in
      edge.commands.compactMap { if case .close(let reason) = $0 { "\(reason.name)" } else { nil } }
    }
    return (page, missing)
  }

  /// Reasons that there are only after the handoff, where nothing is aborted any more.
  private static func isInsideTLSOnly(_ reason: Reason) -> Bool {
    reason == .tlsFailed || reason == .restartFailed
  }

  // MARK: The table

  private static func table(_ graphs: [(String, ControlGraph)]) -> String {
    var rows: [Phase: Set<String>] = [:]
    for (_, graph) in graphs {
      for edge in graph.edges {
        let (from, to) = (graph.states[edge.from].phase, graph.states[edge.to].phase)
        if edge.commands.isEmpty && from == to { continue }
        let commands = edge.commands.map(spelled).joined(separator: ", ")
        rows[from, default: []].insert("| `\(edge.happening.description.unescaped)` | \(commands) | \(to) |")
      }
    }
    var text = "\n## Every transition\n\nWhat happens, what the session commands, and where it is then. Several rows for one event: it depends on what came before.\n"
    for phase in Phase.allCases {
      guard let lines = rows[phase] else { continue }
      text += "\n### \(phase)\n\n| event | commands | phase |\n|---|---|---|\n"
      text += lines.sorted().joined(separator: "\n") + "\n"
    }
    return text
  }

  // MARK: Spelling

  static func text(of reply: Reply) -> String {
    String(describing: reply.text).split(separator: "\r\n").first.map(String.init) ?? ""
  }

  private static func spelled(_ command: Command) -> String {
    switch command {
    case .keep: "keep"
    case .drop(let hold): "drop \(hold)"
    case .forward(let verb): "forward \(verb)"
    case .pass(let separator): separator == .kept ? "pass" : "pass with \(separator)"
    case .stash: "stash"
    case .passEarlier(let separator): separator == .kept ? "pass earlier" : "pass earlier with \(separator)"
    case .reply(let reply): "reply \(text(of: reply).split(separator: " ").prefix(2).joined(separator: " "))"
    case .resetServer: "reset server"
    case .peek(let party): "peek at \(party)"
    case .endServer: "end server"
    case .restart: "restart"
    case .handoff: "handoff"
    case .abort(let reason): "abort (\(reason.name))"
    case .relay: "relay"
    case .close(let reason): "close (\(reason.name))"
    }
  }
}

extension String {
  /// A NUL as it is usually written.
  fileprivate var unescaped: String { split(separator: "\0", omittingEmptySubsequences: false).joined(separator: "\\0") }
}
