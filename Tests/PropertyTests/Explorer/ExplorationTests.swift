// The promises, explored: every state that the shipped session can reach under a small policy, and every edge.

import Foundation
import XCTest
import PropertyCases

@testable import SMTPState
@testable import SessionKit

/// Says how far an exploration has come, at once: it may take minutes.
func tell(_ line: String) {
  FileHandle.standardError.write(Data("\(line)\n".utf8))
}

final class ExplorationTests: XCTestCase {
  /// What the explored policies choose, by name.
  static let choices: [(name: String, choose: @Sendable (inout Policy) -> Void)] = [
    ("opportunistic, restart", { _ in }),
    ("opportunistic, RSET", { $0.serverReset = .rset }),
    ("required, restart", { $0.security = .required }),
    ("required, RSET", { $0.security = .required; $0.serverReset = .rset }),
    ("LMTP, restart", { $0.mailProtocol = .lmtp }),
    ("cleartext AUTH, RSET", { $0.allowsCleartextAuthentication = true; $0.serverReset = .rset }),
    ("bare LF tolerated, restart", { $0.bareLineFeed = .tolerate }),
  ]

  /// The policies that are explored to closure, octet by octet. Limits are small, so that their product is; each part
  /// is explored at its real limits: the octets in ScannerExplorationTests, the control in ControlExplorationTests.
  static func policies(_ extent: Extent) -> [(name: String, policy: Policy)] {
    var small = Policy()
    small.commandLineLimit = 10
    small.responseLineLimit = 3
    small.replyLineLimit = extent == .large ? 6 : 5
    small.replyLinesLimit = extent == .quick ? 1 : 2
    small.outstandingLimit = extent == .large ? 2 : 1
    small.junkLimit = 1
    small.commandLimit = extent == .large ? 3 : extent == .full ? 2 : 1
    small.chunkLimit = 2
    return choices.map { name, choose in
      var policy = small
      choose(&policy)
      return (name, policy)
    }
  }

  func testEveryPolicyToClosure() {
    let policies = ExplorationTests.policies(.current)
    for (name, policy) in Extent.current == .large ? policies : [policies[0], policies[1], policies[3], policies[5]] {
      let begin = Date()
      var failures: [String: Int] = [:]
      var first: [String: (SMTPSession, SessionEvent, Command)] = [:]
      let graph = Explorer(policy) { from, event, command, to in
        guard let broken = EdgeChecks.broken(from, event, command, to) else { return }
        failures[broken, default: 0] += 1
        if first[broken] == nil { first[broken] = (from, event, command) }
      }
      for (broken, count) in failures {
        let (state, event, command) = first[broken]!
        let path = graph.states.firstIndex(of: state).map { graph.path(to: $0) } ?? []
        XCTFail(
          "\(name): \(broken), \(count) times; first: \(path.map(\.event)), then \(event) gave \(command) in \(state)")
      }
      if let state = graph.states.indices.first(where: { EdgeChecks.withoutEnd(graph.states[$0]) != nil }) {
        XCTFail("\(name): P7: a state that cannot end: \(graph.path(to: state).map(\.event))")
      }
      let seconds = Date().timeIntervalSince(begin)
      tell("explored \(name): \(graph.states.count) states, \(graph.edges) edges, \(String(format: "%.1f", seconds)) s")
    }
  }
}
