// The control of a session, explored at the limits that are shipped.
//
// Whole lines are the edges and states are exact: every number of outstanding replies, of junk lines and of commands is
// a state of its own, in every combination that can be reached. Three things are taken for one another, each with its
// support: commands that are alike (ControlClasses, at small limits); the lines of a reply from its second on (ControlAlphabet.foldLines);
// and where in a line a side is, which the control cannot see but for what ControlAlphabet makes a token. So what is
// checked on every edge here, and on the scanners' octets in ScannerExplorationTests, holds for the policy as it is
// shipped.
//
// All combinations of the three numbers are some 58 million states. `make explore` walks them for every policy, in some
// six gigabytes. `make test` walks for two of them all that happens inside TLS, where commands are not counted, and in
// clear all with at most two outstanding replies.

import Foundation
import XCTest

@testable import SMTPState
@testable import SessionKit

final class ControlExplorationTests: XCTestCase {
  /// Whom `make test` asks.
  private static let chosen = ["opportunistic, RSET", "required, RSET"]

  func testControlAtShippedLimits() {
    for (name, choose) in ExplorationTests.choices {
      var policy = Policy()
      choose(&policy)
      if ExplorationTests.isLarge {
        explore(name, policy) { _ in }
      } else if Self.chosen.contains(name) {
        explore("\(name), inside TLS", policy) { $0.commandLimit = 3 }
        explore("\(name), in clear", policy) { $0.outstandingLimit = 2 }
      }
    }
  }

  private func explore(_ name: String, _ shipped: Policy, _ limit: (inout Policy) -> Void) {
    let begin = Date()
    let classes = ControlClasses(shipped).representatives
    var policy = shipped
    limit(&policy)
    let graph = ControlExplorer(
      policy, commands: { classes[$0] ?? [] }, checkEdge: EdgeChecks.broken, checkState: EdgeChecks.withoutEnd)
    for (what, first) in graph.broken {
      XCTFail("\(name): \(what), \(first.count) times; first: \(first.way.joined(separator: " | "))")
    }
    // A limit that nothing reaches was not explored.
    let limits = Limits(policy)
    XCTAssert(graph.states.contains { $0.outstanding == limits.outstanding }, "\(name): outstanding")
    XCTAssert(graph.states.contains { $0.junk == limits.junk }, "\(name): junk")
    XCTAssert(graph.states.contains { $0.commands == limits.commands }, "\(name): commands")
    let seconds = Date().timeIntervalSince(begin)
    tell(
      "explored the control, \(name): \(graph.states.count) states, \(graph.edges) edges, "
        + "\(String(format: "%.1f", seconds)) s (outstanding \(limits.outstanding), junk \(limits.junk), "
        + "commands \(limits.commands))")
  }
}
