// Each scanner alone, over all 256 octets, to closure: at the shipping limits in `make explore`, at short ones in `make test`.

import XCTest

@testable import SMTPState

final class ScannerExplorationTests: XCTestCase {
  private static func limits(_ change: (inout Policy) -> Void = { _ in }) -> Limits {
    var policy = Policy()
    // Every size that is skipped is a state of its own.
    policy.chunkLimit = 100
    if !ExplorationTests.isLarge {
      policy.commandLineLimit = 40
      policy.responseLineLimit = 60
      policy.replyLineLimit = 24
      policy.chunkLimit = 11
    }
    change(&policy)
    return Limits(policy)
  }

  /// Every state that a scanner can reach from the given ones, and how many octets were tried.
  private func explore<Scanner: Hashable>(
    _ starts: [Scanner], _ step: (inout Scanner, UInt8) -> Bool
  ) -> (states: Set<Scanner>, edges: Int) {
    var seen = Set(starts)
    var queue = starts
    var edges = 0
    while let state = queue.popLast() {
      for octet in UInt8.min...UInt8.max {
        var next = state
        edges += 1
        if step(&next, octet), seen.insert(next).inserted { queue.append(next) }
      }
    }
    return (seen, edges)
  }

  /// P8, P9: a client's lines and the lines of a SASL exchange. A line ends in the first state, whatever it was.
  func testCommandScanner() {
    let limits = ScannerExplorationTests.limits()
    var response = CommandScanner()
    response.expectResponse()
    for inClear in [true, false] {
      var lines = 0
      let (states, edges) = explore([CommandScanner(), response]) { scanner, octet in
        switch scanner.scan(octet, limits, inClear: inClear) {
        case .more, .tooLong:
          if octet == .lineFeed { XCTFail("a line feed that ends no line") }
          return true
        case .line(let line, let chunk):
          lines += 1
          if octet == .lineFeed && scanner != CommandScanner() { XCTFail("a line that does not end in the first state") }
          if chunk > 0 && (line.verb != .bdat || line.flaw != .none) { XCTFail("a chunk behind \(line)") }
          if chunk > limits.chunk { XCTFail("a chunk of \(chunk) octets to be skipped") }
          return true
        }
      }
      tell("explored command scanner (in clear: \(inClear)): \(states.count) states, \(edges) edges, \(lines) ends of a line")
      XCTAssertGreaterThan(states.count, 1_000)
    }
  }

  /// P8, P9: a server's replies, with and without keywords.
  func testReplyScanner() {
    for findsKeywords in [true, false] {
      // Every line number multiplies the states; three suffice, since no rule knows another number.
      let limits = ScannerExplorationTests.limits { $0.replyLinesLimit = 3 }
      let (states, edges) = explore([ReplyScanner()]) { scanner, octet in
        switch scanner.scan(octet, limits, findsKeywords: findsKeywords) {
        case .more: return true
        case .line(let line):
          if line.isFirst && line.keyword != nil { XCTFail("a keyword on the first line") }
          if line.isLast && scanner != ReplyScanner() { XCTFail("a reply that does not end in the first state") }
          return true
        case .garbage: return false
        }
      }
      tell("explored reply scanner (keywords: \(findsKeywords)): \(states.count) states, \(edges) edges")
      XCTAssertGreaterThan(states.count, 1_000)
    }
  }

  /// Octets of a class lead to equal states with equal commands, in every state that the explorer's policies reach.
  func testOctetClasses() {
    var policy = ExplorationTests.policies(isLarge: false)[1].policy
    if !ExplorationTests.isLarge {
      policy.commandLimit = 1
      policy.replyLinesLimit = 1
    }
    let clients = OctetClasses.representatives(.client)
    let servers = OctetClasses.representatives(.server)
    var checked = 0
    let graph = Explorer(policy) { _, _, _, _ in }
    for state in graph.states where state.interest == .both || state.interest == .server {
      for (side, representatives) in [(Side.client, clients), (.server, servers)] {
        if side == .client && state.interest != .both { continue }
        var expected: [(Session, Command)?] = Array(repeating: nil, count: 256)
        for octet in 0...255 {
          let representative = Int(representatives[octet])
          if expected[representative] == nil {
            var next = state
            let command = SessionEvent.octet(side, UInt8(representative)).apply(to: &next)
            expected[representative] = (next, command)
          }
          if octet == representative { continue }
          var next = state
          let command = SessionEvent.octet(side, UInt8(octet)).apply(to: &next)
          checked += 1
          if let (wanted, answer) = expected[representative], next != wanted || command != answer {
            return XCTFail("octet \(octet) of the \(side) is not of the class of \(representative) in \(state)")
          }
        }
      }
    }
    tell("proved the octet classes in \(graph.states.count) states with \(checked) octets")
  }
}
