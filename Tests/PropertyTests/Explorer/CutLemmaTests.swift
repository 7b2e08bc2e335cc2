// P4 as a lemma: in every state that is reachable under a small policy, a block of octets shown at once and the same octets
// shown one by one lead to the same state with the same commands, apart from `keep` and `drop`.

import XCTest
import PropertyCases

@testable import SMTPState
@testable import SessionKit

final class CutLemmaTests: XCTestCase {
  func testP4BlocksOfTwoClasses() {
    var policy = ExplorationTests.policies(.full)[5].policy
    if Extent.current != .large {
      policy.commandLineLimit = Extent.choose(quick: 5, full: 6)
      policy.commandLimit = 1
      policy.replyLinesLimit = 1
    }
    let graph = Explorer(policy) { _, _, _, _ in }
    var blocks = 0
    for state in graph.states {
      for side in [Side.client, .server] where Self.wants(state, side) {
        let octets = OctetClasses.classes(side)
        for first in octets {
          for second in octets {
            blocks += 1
            if let difference = Self.difference(state, [first, second], side) {
              return XCTFail("\(difference): \(first), \(second) of the \(side) in \(state)")
            }
          }
        }
      }
    }
    tell("proved the cuts of \(blocks) blocks of two in \(graph.states.count) states")
  }

  /// The smallest policy: the control with lines too short to say much.
  func testP4BlocksOfThreeClasses() {
    var policy = ExplorationTests.policies(.full)[0].policy
    policy.commandLineLimit = Extent.choose(quick: 2, full: 3)
    policy.replyLineLimit = Extent.choose(quick: 4, full: 5)
    policy.replyLinesLimit = 1
    policy.commandLimit = 1
    let graph = Explorer(policy) { _, _, _, _ in }
    var blocks = 0
    for state in graph.states {
      for side in [Side.client, .server] where Self.wants(state, side) {
        // At such a length no letter means more than another.
        let octets = OctetClasses.classes(side).filter { !(0x42...0x5A).contains($0) }
        for first in octets {
          for second in octets {
            for third in octets {
              blocks += 1
              if let difference = Self.difference(state, [first, second, third], side) {
                return XCTFail("\(difference): \(first), \(second), \(third) of the \(side) in \(state)")
              }
            }
          }
        }
      }
    }
    tell("proved the cuts of \(blocks) blocks of three in \(graph.states.count) states")
  }

  private static func wants(_ session: SMTPSession, _ side: Side) -> Bool {
    session.interest == .both || session.interest == .server && side == .server
  }

  /// Shows a block at once, and then as many octets of it as that consumed one by one; what differs, if anything.
  private static func difference<let count: Int>(
    _ state: SMTPSession, _ block: InlineArray<count, UInt8>, _ side: Side
  ) -> String? {
    var whole = state
    let step = whole.receive(block.span, from: side.party(in: whole))
    if step.consumed < 1 { return "nothing of a wanted side was consumed" }
    var cut = state
    var last = Command.keep
    for index in 0..<step.consumed {
      if !last.isSilent || !wants(cut, side) { return "octets were consumed after \(last)" }
      let octet: InlineArray<1, UInt8> = [block[index]]
      last = cut.receive(octet.span, from: side.party(in: cut)).command
    }
    if whole != cut { return "two states" }
    if step.command != last && !(step.command.isSilent && last.isSilent) { return "\(step.command) and \(last)" }
    return nil
  }
}
