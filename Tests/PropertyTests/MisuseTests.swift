// What a caller does wrong is answered by closing, never by a trap; what comes too late changes nothing.

import SMTPState
import XCTest
import PropertyKit
import PropertyCases

#if C_INTERFACE
  @testable import CSessionKit
#else
  @testable import SessionKit
#endif

final class MisuseTests: XCTestCase {
  /// In the middle of a chain of commands: MAIL was judged, `abort` is out, `forward` and `relay` are not.
  private func inAChain() -> SMTPSession {
    var session = SMTPSession(Policy())
    give("220 be\r\n", from: .server, to: &session)
    let step = give("MAIL FROM:<>\r\n", from: .client, to: &session)
    XCTAssertEqual(step.command, .abort(.mail))
    XCTAssertEqual(session.interest, .again)
    return session
  }

  /// The same before a decision: the second line of an EHLO reply is kept, so the first goes out, and then it is stashed.
  private func inAnUndecidedChain() -> SMTPSession {
    var session = SMTPSession(Policy())
    give("220 be\r\n", from: .server, to: &session)
    give("EHLO c\r\n", from: .client, to: &session)
    give("250-be\r\n", from: .server, to: &session)
    let step = give("250-SIZE\r\n", from: .server, to: &session)
    XCTAssertEqual(step.command, .passEarlier(.hyphen))
    XCTAssertEqual(session.interest, .again)
    return session
  }

  @discardableResult
  private func give(_ text: String, from party: Party, to session: inout SMTPSession) -> Step {
    let octets = Array(text.utf8)
    return session.receive(octets.span, from: party)
  }

  func testAnEventInAChainClosesWithMisuse() {
    let events: [(String, (inout SMTPSession) -> Command)] = [
      ("ended client", { $0.inputEnded(from: .client) }), ("ended server", { $0.inputEnded(from: .server) }),
      ("peeked", { $0.peeked(nil, ended: false) }), ("secured", { $0.handshakeFinished(.established) }),
      ("restarted", { $0.serverRestarted(.ready) }),
    ]
    for (name, event) in events {
      var decided = inAChain()
      XCTAssertEqual(event(&decided), .close(.misuse), name)
      XCTAssertTrue(decided.isFinal, name)

      var undecided = inAnUndecidedChain()
      XCTAssertEqual(event(&undecided), .abort(.misuse), name)
      XCTAssertEqual(undecided.interest, .again, name)
      XCTAssertEqual(undecided.nextCommand(), .close(.misuse), name)
      XCTAssertTrue(undecided.isFinal, name)
    }
  }

  func testWhatIsTooLateInAChainChangesNothing() {
    for session in [inAChain(), inAnUndecidedChain()] {
      let events: [(String, (inout SMTPSession) -> Command)] = [
        ("drained", { $0.outputDrained() }), ("expired reply", { $0.timerExpired(.reply) }),
        ("expired command", { $0.timerExpired(.command) }),
        ("octets of the client", { self.give("NOOP\r\n", from: .client, to: &$0).command }),
        ("octets of the server", { self.give("250 ok\r\n", from: .server, to: &$0).command }),
      ]
      for (name, event) in events {
        var changed = session
        XCTAssertEqual(event(&changed), .keep, name)
        XCTAssertEqual(changed, session, name)
      }
    }
  }

  func testUnavailableInAChainIsRemembered() {
    var session = inAnUndecidedChain()
    XCTAssertEqual(session.tlsUnavailable(), .keep)
    // It was listed by the same line.
    XCTAssertEqual(session.nextCommand(), .reply(.starttlsKeyword))
    XCTAssertEqual(session.nextCommand(), .stash)
    XCTAssertEqual(give("250 DSN\r\n", from: .server, to: &session).command, .passEarlier(.hyphen))
    XCTAssertEqual(session.nextCommand(), .pass(.space))
    XCTAssertEqual(session.interest, .both)
    XCTAssertEqual(give("STARTTLS\r\n", from: .client, to: &session).command, .reply(.tlsUnavailable))
  }

  /// The new server cannot be named before there is one: in no phase, in a chain or not.
  func testANewServerBeforeThereIsOneClosesWithMisuse() {
    for session in [SMTPSession(Policy()), inAChain(), inAnUndecidedChain()] {
      var receiving = session
      let step = give("220 be\r\n", from: .newServer, to: &receiving)
      XCTAssertEqual(step.consumed, 0)
      var ending = session
      for (command, var closing) in [(step.command, receiving), (ending.inputEnded(from: .newServer), ending)] {
        if session.isClearPhaseOver {
          XCTAssertEqual(command, .close(.misuse))
        } else {
          XCTAssertEqual(command, .abort(.misuse))
          XCTAssertEqual(closing.nextCommand(), .close(.misuse))
        }
        XCTAssertTrue(closing.isFinal)
      }
    }
  }

  /// Whatever is reported of a server that was replaced changes nothing, in any phase after that, in a chain or not.
  func testAServerThatWasReplacedChangesNothing() {
    for outcome in [RestartOutcome.greeting, .ready] {
      var session = SMTPSession(Policy())
      give("220 be\r\n", from: .server, to: &session)
      give("EHLO c\r\n", from: .client, to: &session)
      give("250 be\r\n", from: .server, to: &session)
      XCTAssertEqual(session.nextCommand(), .reply(.lastStarttlsKeyword))
      XCTAssertEqual(give("STARTTLS\r\n", from: .client, to: &session).command, .peek(.client))
      XCTAssertEqual(session.peeked(nil, ended: false), .reply(.readyForTLS))
      XCTAssertEqual(session.outputDrained(), .endServer)
      guard case .handoff = session.nextCommand() else { return XCTFail("no handoff") }
      assertReplaced(session)
      XCTAssertEqual(session.handshakeFinished(.established), .restart)
      assertReplaced(session)
      XCTAssertEqual(session.serverRestarted(outcome), .keep)
      assertReplaced(session)
      if outcome == .greeting { XCTAssertEqual(give("220 be\r\n", from: .newServer, to: &session).command, .drop(.reply)) }
      assertReplaced(session)
      XCTAssertEqual(give("NOOP\r\n", from: .client, to: &session).command, .forward(.noop))
      assertReplaced(session)
      XCTAssertEqual(give("250 ok\r\n", from: .newServer, to: &session).command, .pass(.kept))
      var quitting = session
      XCTAssertEqual(give("QUIT\r\n", from: .client, to: &quitting).command, .forward(.quit))
      assertReplaced(quitting)
      XCTAssertEqual(give("MAIL FROM:<>\r\n", from: .client, to: &session).command, .forward(.mail))
      XCTAssertEqual(session.interest, .again)
      assertReplaced(session)
      XCTAssertEqual(session.nextCommand(), .relay)
      assertReplaced(session)
    }
  }

  private func assertReplaced(_ session: SMTPSession, line: UInt = #line) {
    var reported = session
    XCTAssertEqual(reported.inputEnded(from: .server), .keep, line: line)
    let step = give("421 late\r\n", from: .server, to: &reported)
    XCTAssertEqual(step.consumed, 0, line: line)
    XCTAssertEqual(step.command, .keep, line: line)
    XCTAssertEqual(reported, session, line: line)
  }

  func testOctetsOfAClientThatEndedCloseWithMisuse() {
    var session = SMTPSession(Policy())
    give("220 be\r\n", from: .server, to: &session)
    give("NOOP\r\n", from: .client, to: &session)
    XCTAssertEqual(session.inputEnded(from: .client), .keep)
    let step = give("NOOP\r\n", from: .client, to: &session)
    XCTAssertEqual(step.consumed, 0)
    XCTAssertEqual(step.command, .abort(.misuse))
    XCTAssertEqual(session.nextCommand(), .close(.misuse))
  }

  func testOctetsOfASideThatIsNotWantedAreLeft() {
    var session = SMTPSession(Policy())
    XCTAssertEqual(give("EHLO c\r\n", from: .client, to: &session).consumed, 0)
    XCTAssertEqual(session, SMTPSession(Policy()))
    XCTAssertEqual(give("", from: .server, to: &session).consumed, 0)
    XCTAssertEqual(session, SMTPSession(Policy()))
  }

  func testAnEndReportedTwiceChangesNothing() {
    var session = SMTPSession(Policy())
    give("220 be\r\n", from: .server, to: &session)
    give("NOOP\r\n", from: .client, to: &session)
    XCTAssertEqual(session.inputEnded(from: .client), .keep)
    let once = session
    XCTAssertEqual(session.inputEnded(from: .client), .keep)
    XCTAssertEqual(session, once)
  }

  func testBoundsOutOfRangeAreBroughtIntoIt() {
    var policy = Policy()
    for value in [Int.min, -1, 0, Int.max] {
      for (_, path) in Transcript.limits { policy[keyPath: path] = value }
      var caller = Caller(policy)
      caller.happen(.arrives(.server("220 be\r\n")))
      caller.happen(.arrives(.client("EHLO c\r\nNOOP\r\nBDAT 9\r\n")))
      XCTAssertEqual(caller.violations, [])
    }
  }
}
