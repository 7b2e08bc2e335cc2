// What may come while `nextCommand()` has more to give, and what timers there are.

import XCTest

import SMTPState
import PropertyKit
import PropertyCases

#if C_INTERFACE
  @testable import CSessionKit
#else
  @testable import SessionKit
#endif

final class BetweenCommandsTests: XCTestCase {
  private func receive(_ text: String, _ party: Party, _ session: inout SMTPSession) -> Command {
    var octets = Array(text.utf8)[...]
    var command = Command.keep
    while !octets.isEmpty {
      let rest = Array(octets)
      let step = session.receive(rest.span, from: party)
      command = step.command
      octets = octets.dropFirst(step.consumed)
      if step.consumed == 0 || session.interest == .again { break }
    }
    return command
  }

  private func rest(_ session: inout SMTPSession) -> [Command] {
    var commands: [Command] = []
    while session.interest == .again { commands.append(session.nextCommand()) }
    return commands
  }

  /// The helper ends after the last line of the answer to RSET, before the peek is fetched.
  func testUnavailableBeforeThePeekIsFetched() {
    var policy = Policy()
    policy.serverReset = .rset
    var session = SMTPSession(policy)
    XCTAssertEqual(receive("220 x\r\n", .server, &session), .pass(.kept))
    XCTAssertEqual(receive("EHLO x\r\n", .client, &session), .forward(.ehlo))
    XCTAssertEqual(receive("250 x\r\n", .server, &session), .pass(.hyphen))
    XCTAssertEqual(rest(&session), [.reply(.lastStarttlsKeyword)])
    XCTAssertEqual(receive("STARTTLS\r\n", .client, &session), .peek(.client))
    XCTAssertEqual(session.peeked(nil, ended: false), .resetServer)
    XCTAssertEqual(receive("250 x\r\n", .server, &session), .drop(.reply))
    XCTAssertEqual(session.interest, .again)
    XCTAssertNil(session.deadline)
    XCTAssertEqual(session.tlsUnavailable(), .keep)
    XCTAssertEqual(rest(&session), [.reply(.tlsUnavailable)])
    XCTAssertEqual(session.phase, .negotiating)
    XCTAssertEqual(receive("STARTTLS\r\n", .client, &session), .reply(.tlsUnavailable))
  }

  func testEveryTimerHasItsLength() {
    var policy = Policy()
    policy.greetingTimeoutMilliseconds = 1
    policy.commandTimeoutMilliseconds = 2
    policy.replyTimeoutMilliseconds = 3
    policy.resetTimeoutMilliseconds = 4
    policy.handshakeTimeoutMilliseconds = 5
    policy.clearPhaseTimeoutMilliseconds = 6
    XCTAssertEqual(Deadline.allCases.map { policy.milliseconds(of: $0) }, [1, 2, 3, 4, 5, 6])
  }

  /// A slow drip of octets gains nothing: only what comes of a line starts the timer again.
  func testOctetsAloneRestartNoTimer() {
    var session = SMTPSession(Policy())
    XCTAssertTrue(receive("220 be\r\n", .server, &session).restartsTimer)
    for octet in ["N", "O", "O", "P", " ", "x", "\r"] {
      XCTAssertFalse(receive(octet, .client, &session).restartsTimer, octet)
    }
    XCTAssertTrue(receive("\n", .client, &session).restartsTimer)
  }
}
