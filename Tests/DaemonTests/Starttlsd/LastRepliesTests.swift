// LastRepliesTests: hundreds of sessions in which client and server both close immediately after QUIT.
//
// The client sends the end of its message and QUIT at once, in one segment or one TLS record; maildir-smtpd answers
// both and exits. A front end that closes before it has passed everything on loses the 250 then: the client sends its
// mail again, and the recipient has it twice. RelayTests has servers that are even faster, or leave QUIT unread.
//
// SMTPSTATE_SESSIONS is another number of sessions; `make test-last-replies` has a thousand.

import Foundation
import PropertyCases
import XCTest

final class LastRepliesTests: StarttlsdTestCase {
  private let count = ProcessInfo.processInfo.environment["SMTPSTATE_SESSIONS"].flatMap(Int.init) ?? Extent.choose(quick: 250, full: 1000)

  func testSessionsInClear() throws { try assertNothingIsLost(isSecured: false) }

  func testSessionsInsideTLS() throws { try assertNothingIsLost(isSecured: true) }

  private func assertNothingIsLost(isSecured: Bool) throws {
    let daemon = try daemon()
    for number in 0..<count {
      let client = try client(daemon)
      try client.hurryToTheEnd(ofSession: number, isSecured: isSecured)
    }
    for session in try daemon.sessions(count) {
      XCTAssertEqual(session.outcome, isSecured ? "handoff: relayed" : "abort mail: relayed")
    }
    XCTAssertEqual(
      daemon.messages.map(\.text).sorted(),
      (0..<count).map { "Subject: half a message\n\nHalf a line, number \($0).\n" }.sorted())
    XCTAssertEqual(daemon.folder.names(in: "Maildir/tmp"), [])
  }
}

extension SMTPClient {
  /// Sends half a message, then its rest and QUIT at once; both replies and the end must come.
  func hurryToTheEnd(ofSession number: Int, isSecured: Bool) throws {
    try (isSecured ? SessionPhase.dataInsideTLS : .dataInClear).enter(self)
    try send("ne, number \(number).\r\n.\r\nQUIT\r\n")
    XCTAssertTrue(try reply().hasPrefix("250 2.0.0 Delivered as "), "session \(number)")
    let rest = try remainder()
    XCTAssertEqual(rest.text, "221 2.0.0 Bye\r\n", "session \(number)")
    XCTAssertEqual(rest.end, isSecured ? .closeNotify : .end, "session \(number)")
    close()
  }
}
