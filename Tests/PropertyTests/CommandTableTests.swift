// The two tables of commands in Docs/Rules.md, a test a table and a line a row.
//
// A row is a line of the client and what becomes of it, in the words of `Command.words`, commas between. Both ways to bring
// the server back, both protocols.

import SMTPState
import XCTest
import PropertyKit
import PropertyCases

#if C_INTERFACE
  @testable import CSessionKit
#else
  @testable import SessionKit
#endif

final class CommandTableTests: XCTestCase {
  func testInClear() {
    for row: (String, opportunistic: String, required: String) in [
      ("EHLO c", "forward ehlo", "forward ehlo"),
      ("HELO c", "forward helo", "reply 530 5.7.0"),
      ("STARTTLS x", "reply 501 5.5.4", "reply 501 5.5.4"),
      ("STARTTLS", "the switch", "the switch"),
      ("STARTTLS \t ", "the switch", "the switch"),
      ("MAIL FROM:<>", "abort mail, forward mail, relay", "reply 530 5.7.0"),
      ("AUTH PLAIN", "reply 538 5.7.11", "reply 530 5.7.0"),
      ("RSET", "forward rset", "reply 530 5.7.0"),
      ("VRFY x", "forward vrfy", "reply 530 5.7.0"),
      ("EXPN x", "forward expn", "reply 530 5.7.0"),
      ("HELP", "forward help", "reply 530 5.7.0"),
      ("ETRN x", "forward etrn", "reply 530 5.7.0"),
      ("NOOP", "forward noop", "forward noop"),
      ("QUIT x", "reply 501 5.5.4", "reply 501 5.5.4"),
      ("QUIT", "abort quit, forward quit", "abort quit, forward quit"),
      ("RCPT TO:<a>", "reply 503 5.5.1", "reply 530 5.7.0"),
      ("DATA", "reply 503 5.5.1", "reply 530 5.7.0"),
      ("BDAT 0 LAST", "reply 503 5.5.1", "reply 530 5.7.0"),
      ("BDAT 65537", Self.close("chunk too large", "552 5.3.4"), Self.close("chunk too large", "552 5.3.4")),
      ("BDAT x", Self.close("bad chunk", "501 5.5.4"), Self.close("bad chunk", "501 5.5.4")),
      ("BDAT 1\0", Self.close("bad chunk", "501 5.5.4"), Self.close("bad chunk", "501 5.5.4")),
      ("GET /", Self.close("wrong protocol", "554 5.5.1"), Self.close("wrong protocol", "554 5.5.1")),
      ("\u{16}\u{3}", Self.close("wrong protocol", "554 5.5.1"), Self.close("wrong protocol", "554 5.5.1")),
      ("", "reply 500 5.5.2", "reply 500 5.5.2"),
      (" NOOP", "reply 500 5.5.2", "reply 500 5.5.2"),
      ("NOOP \0", "reply 500 5.5.2", "reply 500 5.5.2"),
      ("NOOP\rx", "reply 500 5.5.2", "reply 500 5.5.2"),
      ("XCLIENT A=1", "reply 502 5.5.1", "reply 530 5.7.0"),
      ("XFORWARD A=1", "reply 502 5.5.1", "reply 530 5.7.0"),
      ("LHLO c", "reply 502 5.5.1", "reply 530 5.7.0"),
      ("FOO", "reply 502 5.5.1", "reply 530 5.7.0"),
    ] {
      for reset in [Policy.ServerReset.restart, .rset] {
        expect(row.0, row.opportunistic, .negotiating) { $0.serverReset = reset }
        expect(row.0, row.required, .negotiating) { ($0.serverReset, $0.security) = (reset, .required) }
      }
    }
  }

  func testInClearOfLMTP() {
    for row: (String, opportunistic: String, required: String) in [
      ("LHLO c", "forward lhlo", "forward lhlo"),
      ("EHLO c", "reply 500 5.5.1", "reply 500 5.5.1"),
      ("HELO c", "reply 500 5.5.1", "reply 500 5.5.1"),
      ("STARTTLS", "the switch", "the switch"),
      ("MAIL FROM:<>", "abort mail, forward mail, relay", "reply 530 5.7.0"),
    ] {
      expect(row.0, row.opportunistic, .negotiating) { $0.mailProtocol = .lmtp }
      expect(row.0, row.required, .negotiating) { ($0.mailProtocol, $0.security) = (.lmtp, .required) }
    }
  }

  func testAUTHWhereItIsAllowed() {
    expect("AUTH PLAIN", "forward auth", .negotiating) { $0.allowsCleartextAuthentication = true }
    expect("AUTH PLAIN", "reply 530 5.7.0", .negotiating) {
      ($0.allowsCleartextAuthentication, $0.security) = (true, .required)
    }
  }

  func testSTARTTLSWhereItIsNotPossible() throws {
    let greeted = Event.arrives(.server("220 be\r\n"))
    let starttls = Event.arrives(.client("STARTTLS\r\n"))
    let ehlo = Event.arrives(.client("EHLO c\r\n"))
    let accepted = Event.arrives(.server("250 be\r\n"))
    expect([greeted, starttls], "reply 503 5.5.1")
    expect([.arrives(.server("554 no\r\n")), ehlo, accepted, starttls], "reply 503 5.5.1")
    expect([greeted, ehlo, .arrives(.server("501 no\r\n")), starttls], "reply 503 5.5.1")
    expect([greeted, ehlo, accepted, .unavailable, starttls], "reply 454 4.7.0")
    expect(
      [greeted, ehlo, accepted, .arrives(.client("AUTH X\r\n")), .arrives(.server("235 ok\r\n")), starttls],
      "reply 503 5.5.1"
    ) { $0.allowsCleartextAuthentication = true }
  }

  func testInsideTLS() {
    for row: (String, restart: String, rset: String) in [
      ("EHLO c", "forward ehlo", "forward ehlo"),
      ("HELO c", "forward helo", "forward helo"),
      ("LHLO c", "reply 502 5.5.1", "reply 502 5.5.1"),
      ("XCLIENT A=1", "reply 502 5.5.1", "reply 502 5.5.1"),
      ("XFORWARD A=1", "reply 502 5.5.1", "reply 502 5.5.1"),
      ("RSET", "forward rset", "forward rset"),
      ("NOOP", "forward noop", "forward noop"),
      ("VRFY x", "forward vrfy", "forward vrfy"),
      ("EXPN x", "forward expn", "forward expn"),
      ("HELP", "forward help", "forward help"),
      ("ETRN x", "forward etrn", "forward etrn"),
      ("AUTH PLAIN", "forward auth", "forward auth"),
      ("STARTTLS", "reply 503 5.5.1", "reply 503 5.5.1"),
      ("STARTTLS x", "reply 503 5.5.1", "reply 503 5.5.1"),
      ("QUIT", "forward quit", "forward quit"),
      ("QUIT x", "reply 501 5.5.4", "reply 501 5.5.4"),
      ("", "reply 500 5.5.2", "reply 500 5.5.2"),
      ("\tNOOP", "reply 500 5.5.2", "reply 500 5.5.2"),
      ("NOOP \0", "reply 500 5.5.2", "reply 500 5.5.2"),
      ("BDAT 1\0", "reply 501 5.5.4, close bad chunk", "reply 501 5.5.4, close bad chunk"),
      ("MAIL FROM:<>", "forward mail, relay", "reply 503 5.5.1"),
      ("RCPT TO:<a>", "forward rcpt, relay", "reply 503 5.5.1"),
      ("DATA", "forward data, relay", "reply 503 5.5.1"),
      ("BDAT 0", "forward bdat, relay", "reply 503 5.5.1"),
      ("BDAT 65537", "forward bdat, relay", "reply 552 5.3.4, close chunk too large"),
      ("BDAT x", "forward bdat, relay", "reply 501 5.5.4, close bad chunk"),
      ("GET /", "forward get, relay", "reply 503 5.5.1"),
      ("FOO", "forward other, relay", "reply 503 5.5.1"),
      ("\u{16}\u{3}", "forward other, relay", "reply 503 5.5.1"),
    ] {
      expect(row.0, row.restart, .secured) { $0.serverReset = .restart }
      expect(row.0, row.rset, .secured) { $0.serverReset = .rset }
    }
  }

  func testInsideTLSOfLMTP() {
    for reset in [Policy.ServerReset.restart, .rset] {
      for (line, deeds) in [("LHLO c", "forward lhlo"), ("EHLO c", "reply 500 5.5.1"), ("HELO c", "reply 500 5.5.1")] {
        expect(line, deeds, .secured) { ($0.mailProtocol, $0.serverReset) = (.lmtp, reset) }
      }
    }
  }

  func testInsideTLSAfterAnAcceptedGreeting() {
    for (greeting, reply, accepted) in [
      ("EHLO c", "250", true), ("EHLO c", "251", false), ("EHLO c", "501", false),
      ("HELO c", "250", true), ("HELO c", "220", true), ("HELO c", "501", false),
    ] {
      let begin = [Event.arrives(.client("\(greeting)\r\n")), .arrives(.server("\(reply) x\r\n"))]
      let mail = Event.arrives(.client("MAIL FROM:<>\r\n"))
      expect(
        Self.way(to: .secured, Self.policy { $0.serverReset = .rset }) + begin + [mail],
        accepted ? "forward mail, relay" : "reply 503 5.5.1"
      ) { $0.serverReset = .rset }
    }
  }

  // MARK: - A row

  private static func close(_ reason: String, _ code: String) -> String { "abort \(reason), reply \(code), close \(reason)" }

  private static func policy(_ change: (inout Policy) -> Void) -> Policy {
    var policy = Policy()
    change(&policy)
    return policy
  }

  /// The shortest way to a phase in which commands are read.
  private static func way(to phase: Phase, _ policy: Policy) -> [Event] {
    let greeting = policy.mailProtocol == .lmtp ? "LHLO c\r\n" : "EHLO c\r\n"
    let clear: [Event] = [.arrives(.server("220 be\r\n")), .arrives(.client(greeting)), .arrives(.server("250 be\r\n"))]
    guard phase == .secured else { return clear }
    let back: [Event] =
      policy.serverReset == .rset
      ? [.arrives(.server("250 ok\r\n")), .secured(.established)] : [.secured(.established), .restarted(.ready)]
    return clear + [.arrives(.client("STARTTLS\r\n"))] + back
  }

  private func expect(
    _ line: String, _ deeds: String, _ phase: Phase, file: StaticString = #filePath, number: UInt = #line,
    _ change: (inout Policy) -> Void
  ) {
    let policy = Self.policy(change)
    let theSwitch = policy.serverReset == .rset ? "peek client, reset server" : "peek client, reply 220 2.0.0, end server, handoff"
    expect(
      Self.way(to: phase, policy) + [.arrives(.client("\(line)\r\n"))], deeds == "the switch" ? theSwitch : deeds, file: file,
      number: number, change)
  }

  private func expect(
    _ events: [Event], _ deeds: String, file: StaticString = #filePath, number: UInt = #line,
    _ change: (inout Policy) -> Void = { _ in }
  ) {
    var caller = Caller(Self.policy(change))
    var before = 0
    for event in events {
      before = caller.deeds.count
      caller.happen(event)
    }
    let done = caller.deeds[before...].map(\.words).joined(separator: ", ")
    XCTAssertEqual(done, deeds, "\(events.last.map { "\($0)" } ?? "")", file: file, line: number)
    XCTAssertEqual(caller.violations, [], file: file, line: number)
  }
}
