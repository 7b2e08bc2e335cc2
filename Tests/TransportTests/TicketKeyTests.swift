// TicketKeyTests: the key of tickets is replaced, and tickets of the key before stay valid.

import Glibc
@testable import Transport
@testable import TransportTLS
import XCTest

final class TicketKeyTests: XCTestCase {
  /// A session, which leaves its ticket in a file.
  private func begin(_ credentials: TLSCredentials, _ version: String, _ ticket: String) throws {
    let meeting = try TLSMeeting(credentials, [version, "-sess_out", ticket])
    XCTAssertEqual(meeting.outcome, .established)
    // In TLS 1.3 the ticket comes after the handshake; the client prints what comes after it.
    meeting.write("after the ticket\n")
    XCTAssertTrue(meeting.printed(until: "after the ticket").contains("after the ticket"))
    XCTAssertTrue(meeting.stream.endSending())
    _ = meeting.printed(until: "\u{0}")
  }

  private func isResumed(_ credentials: TLSCredentials, _ version: String, _ ticket: String, _ options: [String] = []) throws -> Bool {
    let meeting = try TLSMeeting(credentials, [version, "-sess_in", ticket] + options)
    XCTAssertEqual(meeting.outcome, .established)
    return meeting.stream.facts.isResumed
  }

  func testTicketsOfTheReplacedKeyStayValid() throws {
    try withFolder { folder in
      for version in ["-tls1_2", "-tls1_3"] {
        let first = try selfSigned(folder, tickets: true)
        let (old, new) = ("\(folder)/old", "\(folder)/new")
        try begin(first, version, old)
        XCTAssertTrue(try isResumed(first, version, old), version)
        let second = try TLSCredentials(replacingTicketKeyOf: first)
        XCTAssertTrue(try isResumed(second, version, old), "\(version): the key before")
        try begin(second, version, new)
        XCTAssertTrue(try isResumed(second, version, new), version)
        XCTAssertFalse(try isResumed(first, version, new), "\(version): it is another key")
        let third = try TLSCredentials(replacingTicketKeyOf: second)
        XCTAssertFalse(try isResumed(third, version, old), "\(version): two keys before")
        XCTAssertTrue(try isResumed(third, version, new), version)
      }
    }
  }

  /// A reload keeps a key that was made here, unless it must be replaced.
  func testAReloadKeepsTheKey() throws {
    try withFolder { folder in
      let request = CredentialRequest(pairs: [try SelfSigned.pair(in: folder, names: ["localhost"])], tickets: .on)
      let first = try TLSCredentials(request, opening: nil)
      let ticket = "\(folder)/ticket"
      try begin(first, "-tls1_3", ticket)
      var again = request
      again.earlier = first
      let second = try TLSCredentials(again, opening: nil)
      XCTAssertEqual(second.ticketKeyReplacement, first.ticketKeyReplacement)
      XCTAssertTrue(try isResumed(second, "-tls1_3", ticket))
      again.replacesTicketKey = true
      XCTAssertFalse(try isResumed(try TLSCredentials(again, opening: nil), "-tls1_3", ticket))
    }
  }

  /// A key that is replaced between two steps of a reload stays replaced.
  func testAKeyThatIsReplacedDuringAReloadIsKept() throws {
    try withFolder { folder in
      let request = CredentialRequest(pairs: [try SelfSigned.pair(in: folder, names: ["localhost"])], tickets: .on)
      let first = try TLSCredentials(request, opening: nil)
      let loading = try CredentialLoading(request, opening: nil, keys: nil)
      XCTAssertNil(try loading.next(earlier: first))
      let second = try TLSCredentials(replacingTicketKeyOf: first)
      let (old, new) = ("\(folder)/old", "\(folder)/new")
      try begin(first, "-tls1_3", old)
      try begin(second, "-tls1_3", new)
      var loaded: TLSCredentials?
      while loaded == nil { loaded = try loading.next(earlier: second) }
      let third = try XCTUnwrap(loaded)
      XCTAssertEqual(third.ticketKeyReplacement, second.ticketKeyReplacement)
      XCTAssertTrue(try isResumed(third, "-tls1_3", new), "the key that was made meanwhile")
      XCTAssertTrue(try isResumed(third, "-tls1_3", old), "the key before it")
    }
  }
}
