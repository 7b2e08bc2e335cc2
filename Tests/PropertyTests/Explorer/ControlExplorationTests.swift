// The control of a session, explored at the limits that are shipped.
//
// Whole lines are the edges and states are exact: every number of outstanding replies, of junk lines and of commands is
// a state of its own, in every combination that can be reached. Three things are taken for one another, each with its
// support: commands that are alike (ControlClasses, at small limits); the lines of a reply from its second on (ControlAlphabet.foldLines);
// and where in a line a side is, which the control cannot see but for what ControlAlphabet makes a token. So what is
// checked on every edge here, and on the scanners' octets in ScannerExplorationTests, holds for the policy as it is
// shipped.
//
// All combinations of the three numbers are some 58 million states. `make explore EXTENT=large` walks them for every
// policy, in some six gigabytes. `make explore` walks for two of them all that happens inside TLS, where commands are not
// counted, and in clear all with at most two outstanding replies; `make test` does so for one, with at most one
// outstanding reply in clear and eight inside TLS.

import Foundation
import XCTest
import PropertyCases

@testable import SMTPState
@testable import SessionKit

final class ControlExplorationTests: XCTestCase {
  /// The policies at an extent that is not large.
  private static let chosen = Extent.choose(quick: ["opportunistic, RSET"], full: ["opportunistic, RSET", "required, RSET"])

  func testControlAtShippedLimits() {
    for (name, choose) in ExplorationTests.choices {
      var policy = Policy()
      choose(&policy)
      if Extent.current == .large {
        explore(name, policy) { _ in }
      } else if Self.chosen.contains(name) {
        explore("\(name), inside TLS", policy) {
          $0.commandLimit = 3
          $0.outstandingLimit = Extent.choose(quick: 8, full: $0.outstandingLimit)
        }
        explore("\(name), in clear", policy) { $0.outstandingLimit = Extent.choose(quick: 1, full: 2) }
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
