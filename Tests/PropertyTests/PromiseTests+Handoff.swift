// P2, P3 and P5 where random dialogues seldom get: a STARTTLS whose client has gone, the place of the handoff, and sizes
// that no small number can hold.

import SMTPState
import XCTest
import PropertyKit
import PropertyCases

#if C_INTERFACE
  @testable import CSessionKit
#else
  @testable import SessionKit
#endif

extension PromiseTests {
  /// P2: a STARTTLS that waits when its client ends is not accepted any more, whatever a peek would show.
  func testP2AWaitingSTARTTLSEndsWithItsClient() {
    for reset in [Policy.ServerReset.restart, .rset] {
      var policy = Policy()
      policy.serverReset = reset
      var caller = Caller(policy, byHand: ByHand(peeks: true))
      caller.happen(.arrives(.server("220 be\r\n")))
      caller.happen(.arrives(.client("EHLO c\r\n")))
      caller.happen(.arrives(.server("250 be\r\n")))
      caller.happen(.arrives(Arrival(client: Array("NOOP\r\nSTARTTLS\r\n".utf8), clientEnds: true)))
      let before = caller.deeds.count
      caller.happen(.arrives(.server("250 ok\r\n")))
      let words = caller.deeds[before...].map(\.words).joined(separator: ", ")
      XCTAssertEqual(words, "pass, abort client ended, close client ended", "\(reset)")
      XCTAssertEqual(caller.violations, [], "\(reset)")
    }
  }

  /// P3: a handoff comes after the 220, in a step of its own once that is with the kernel, and from there on the session
  /// is silent until the TLS layer has answered.
  func testP3TheHandoffFollowsThe220() {
    holds(cases: 20_000, labels: ["handoff": 0.2, "drained by hand": 0.02]) { trial in
      let play = try Play(trial)
      guard let handoff = play.handoff else { return }
      trial.label("handoff")
      if play.caller.byHand.drains { trial.label("drained by hand") }
      try Promises.handoffAfterThe220(play, at: handoff)
    }
  }

  /// P3: whatever timer expires after the 220, no text follows it, and the session closes.
  func testP3NoTimerAddsTextToThe220() {
    for kind in Deadline.allCases {
      var session = SMTPSession(Policy())
      let parts: [(String, Party)] = [("220 be\r\n", .server), ("EHLO c\r\n", .client), ("250 be\r\n", .server), ("STARTTLS\r\n", .client)]
      var command = Command.keep
      for (text, party) in parts {
        command = session.receive(Array(text.utf8).span, from: party).command
        while command != .reply(.readyForTLS), session.interest == .again || command == .peek(.client) {
          command = session.interest == .again ? session.nextCommand() : session.peeked(nil, ended: false)
        }
      }
      XCTAssertEqual(command, .reply(.readyForTLS), "\(kind)")
      XCTAssertEqual(session.phase, .promised)
      var commands = [session.timerExpired(kind)]
      while session.interest == .again { commands.append(session.nextCommand()) }
      for command in commands {
        if case .reply = command { XCTFail("\(kind): \(command)") }
      }
      XCTAssertEqual(session.phase, kind == session.deadline || kind == .clearPhase ? .closed : session.phase, "\(kind)")
    }
  }

  /// P5: the octets of a chunk whose size wraps around in 32 or 64 bits are never read as commands: the session closes.
  func testP5SizesThatWrap() {
    for size in [
      "4294967296", "4294967297", "4294967298", "8589934593", "42949672961", "18446744073709551617",
      "340282366920938463463374607431768211457",
    ] {
      for security in [Policy.Security.opportunistic, .required] {
        var policy = Policy()
        policy.security = security
        var caller = Caller(policy)
        caller.happen(.arrives(.server("220 be\r\n")))
        caller.happen(.arrives(.client("BDAT \(size) LAST\r\nxEHLO c\r\n")))
        let words = caller.deeds.map(\.words).joined(separator: ", ")
        XCTAssertEqual(words, "pass, abort chunk too large, reply 552 5.3.4, close chunk too large", size)
        XCTAssertEqual(caller.violations, [], size)
      }
    }
  }
}
