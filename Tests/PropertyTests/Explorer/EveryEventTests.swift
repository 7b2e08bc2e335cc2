// P9 where a walk over random events seldom gets: every event, at once and in every state that a dialogue visits.

import PropertyKit
import PropertyCases
import SMTPState
import XCTest

@testable import SessionKit

final class EveryEventTests: XCTestCase {
  func testP9NoEventTrapsInAStateThatADialogueVisits() {
    var labels: [String: Double] = [:]
    for phase in Phase.allCases { labels["every event in \(phase)"] = 0.005 }
    holds(cases: 6_000, labels: labels) { trial in
      _ = try Play(trial) { play in
        trial.label("every event in \(play.caller.session.phase)")
        for event in Self.events { try Self.letHappen(event, to: play.caller.session) }
      }
    }
  }

  private static let events: [SessionEvent] =
    [.next, .drained, .unavailable, .ended(.client), .ended(.server), .otherEnded, .secured(.established),
      .secured(.failed)]
    + RestartOutcome.allCases.map { .restarted($0) } + Deadline.allCases.map { .expired($0) }
    + [nil, 0x16, 0x41].flatMap { [.peeked($0, ended: false), .peeked($0, ended: true)] }
    + [0x00, 0x0A, 0x0D, 0x16, 0x20, 0x2D, 0x32, 0x41].flatMap { [.octet(.client, $0), .octet(.server, $0), .octetOfOther($0)] }

  /// Lets it happen, and fetches all that it leads to; a final state issues no command.
  private static func letHappen(_ event: SessionEvent, to visited: SMTPSession) throws {
    var session = visited
    let command = event.apply(to: &session)
    if visited.isFinal, command != .keep || session != visited { throw Falsified("a final state answered \(event)") }
    var length = 0
    while session.interest == .again {
      _ = session.nextCommand()
      length += 1
      if length > 16 { throw Falsified("what \(event) leads to has no end") }
    }
  }
}
