// Each scanner alone, over all 256 octets, to closure: at the shipped line limits in `make explore EXTENT=large`, at
// short ones else.

import XCTest
import PropertyCases

@testable import SMTPState
@testable import SessionKit

final class ScannerExplorationTests: XCTestCase {
  private static func limits(_ change: (inout Policy) -> Void = { _ in }) -> Limits {
    var policy = Policy()
    // Every size that is skipped is a state of its own.
    policy.chunkLimit = 100
    if Extent.current != .large {
      policy.commandLineLimit = 40
      policy.responseLineLimit = 60
      policy.replyLineLimit = 24
      policy.chunkLimit = 11
    }
    change(&policy)
    return Limits(policy)
  }

  /// Every state that a scanner can reach from the given ones, and how many octets were tried. `step` returns whether
  /// the scanner goes on.
  static func explore<Scanner>(
    _ starts: [Scanner], _ step: (inout Scanner, UInt8) -> Bool
  ) -> (states: StateTable<Scanner>, edges: Int) {
    var states = StateTable<Scanner>()
    for start in starts { _ = states.insert(start) }
    var edges = 0
    var current = 0
    while current < states.count {
      for octet in UInt8.min...UInt8.max {
        var next = states[current]
        edges += 1
        if step(&next, octet) { _ = states.insert(next) }
      }
      current += 1
    }
    return (states, edges)
  }

  /// P8, P9: a client's lines and the lines of a SASL exchange. A line ends in the first state, whatever it was.
  func testCommandScanner() {
    let limits = ScannerExplorationTests.limits()
    var response = CommandScanner()
    response.expectResponse()
    for inClear in [true, false] {
      var lines = 0
      let (states, edges) = Self.explore([CommandScanner(), response]) { scanner, octet in
        switch scanner.scan(octet, limits, inClear: inClear) {
        case .more, .tooLong:
          if octet == .lineFeed { XCTFail("a line feed that ends no line") }
          return true
        case .line(let line, let chunk):
          lines += 1
          if octet == .lineFeed && scanner != CommandScanner() { XCTFail("a line that does not end in the first state") }
          if chunk > 0 && (line.verb != .bdat || line.flaw != .sound) { XCTFail("a chunk after \(line)") }
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
      // Every line number multiplies the states; three suffice, see testLaterLinesOfAReplyAreAlike.
      let limits = ScannerExplorationTests.limits { $0.replyLinesLimit = 3 }
      let (states, edges) = Self.explore([ReplyScanner()]) { scanner, octet in
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

  /// The lines of a reply are alike from the second on, up to the line too many: from the state after one line and after n
  /// the same octets come to the same, and at the line's end the one is after two lines and the other after n + 1.
  func testLaterLinesOfAReplyAreAlike() {
    var policy = Policy()
    policy.replyLineLimit = 16
    let limits = Limits(policy)
    let most = policy.replyLinesLimit
    let numbers = Extent.current == .large ? Array(1..<most) : [2, 63, 64, most - 2, most - 1]
    var edges = 0
    for code in ControlAlphabet.codes {
      let after = (0...most).map { lines in
        ControlAlphabet.scanner(after: String(repeating: "\(code)-\n", count: lines), policy)
      }
      for octet in UInt8.min...UInt8.max {
        var full = after[most]
        XCTAssertEqual(full.scan(octet, limits, findsKeywords: false), .garbage, "a line too many")
      }
      for (number, findsKeywords) in numbers.flatMap({ [($0, true), ($0, false)] }) {
        edges += walk(ScannerPair(one: after[1], other: after[number])) { pair, octet in
          let scan = pair.one.scan(octet, limits, findsKeywords: findsKeywords)
          if scan != pair.other.scan(octet, limits, findsKeywords: findsKeywords) {
            XCTFail("\(code): octet \(octet) of line \(number + 1) is not what it is of line 2")
          }
          guard case .line(let line) = scan else { return scan == .more }
          let (one, other) = line.isLast ? (after[0], after[0]) : (after[2], after[number + 1])
          if pair.one != one || pair.other != other { XCTFail("\(code): the end of line \(number + 1)") }
          return false
        }
      }
    }
    tell("proved the later lines of a reply alike with \(edges) octets")
    XCTAssertGreaterThan(edges, 1_000_000)
  }

  private struct ScannerPair: Hashable {
    var one: ReplyScanner
    var other: ReplyScanner
  }

  /// Two scanners side by side, to the end of the line; how many octets were tried.
  private func walk(_ start: ScannerPair, _ step: (inout ScannerPair, UInt8) -> Bool) -> Int {
    var seen: Set = [start]
    var queue = [start]
    var edges = 0
    while let pair = queue.popLast() {
      for octet in UInt8.min...UInt8.max {
        var next = pair
        edges += 1
        if step(&next, octet), seen.insert(next).inserted { queue.append(next) }
      }
    }
    return edges
  }

  /// Octets of a class lead to equal states with equal commands, in every state that the explorer's policies reach.
  func testOctetClasses() {
    var policy = ExplorationTests.policies(.full)[1].policy
    if Extent.current != .large {
      policy.commandLineLimit = Extent.choose(quick: 8, full: 10)
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
        var expected: [(SMTPSession, Command)?] = Array(repeating: nil, count: 256)
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
