// RecipientDomainTests: whose mail is taken with `--domain`, and what a test for open relays receives.

import MaildirSMTPD
import XCTest

@testable import MaildirKit

final class RecipientDomainTests: XCTestCase {
  private static let refusal = "550 5.7.1 No mail for that address here, and no relaying"
  private static let acceptance = "250 2.1.5 Recipient accepted"

  func testOurDomainsInEveryNotation() {
    for recipient in [
      "<a@here.example>", "<a@HERE.example>", "<A@hErE.eXaMpLe>", "<a@[192.0.2.1]>", "<a@[ipv6:2001:DB8::1]>",
      "<@elsewhere.example:a@here.example>", "<@x.example,@y.example:a@HERE.EXAMPLE>", "<\"a b\"@here.example>",
      "<postmaster>", "<Postmaster>", "<@elsewhere.example:postmaster>", "<postmaster@here.example>",
    ] {
      XCTAssertEqual(reply(to: recipient), Self.acceptance, recipient)
    }
  }

  func testOtherDomains() {
    for recipient in [
      "<a@elsewhere.example>", "<a@sub.here.example>", "<a@example>", "<a@here.example.org>", "<a@xhere.example>",
      "<a@[192.0.2.2]>", "<a@192.0.2.1>", "<postmaster@elsewhere.example>", "<\"a@here.example\"@elsewhere.example>",
      "<@here.example:a@elsewhere.example>",
    ] {
      XCTAssertEqual(reply(to: recipient), Self.refusal, recipient)
    }
  }

  /// What those send who look for open relays: a foreign host in a local part of ours.
  func testRoutesInLocalParts() {
    for recipient in [
      "<user%elsewhere.example@here.example>", "<elsewhere.example!user@here.example>",
      "<\"user@elsewhere.example\"@here.example>", "<\"user%elsewhere.example\"@here.example>",
      "<\"user\\@elsewhere.example\"@[192.0.2.1]>", "<@here.example:user%elsewhere.example@here.example>",
    ] {
      XCTAssertEqual(reply(to: recipient), Self.refusal, recipient)
    }
  }

  func testWithoutTheOptionEveryRecipientIsTaken() {
    for recipient in ["<a@elsewhere.example>", "<user%elsewhere.example@here.example>", "<postmaster>"] {
      XCTAssertEqual(reply(to: recipient, domains: RecipientDomains()), Self.acceptance, recipient)
    }
  }

  /// A refused recipient is none: the limit does not count it, and a message without others is not begun.
  func testRefusedRecipientsDoNotCount() {
    var policy = ScriptedSession.policy
    policy.domains = domains
    var session = ScriptedSession(policy: policy)
    let others = Array(repeating: "RCPT TO:<a@elsewhere.example>\r\n", count: 4).joined()
    let script =
      "EHLO x\r\nMAIL FROM:<a@b>\r\n\(others)DATA\r\nRCPT TO:<c@here.example>\r\nRCPT TO:<a@elsewhere.example>\r\nDATA\r\n"
      + "x\r\n.\r\nVRFY c\r\n"
    session.send(Array(script.utf8), cutAt: [script.utf8.count])
    XCTAssertEqual(
      Array(session.events.dropFirst(2)),
      Array(repeating: Self.refusal, count: 4) + [
        "503 5.5.1 Give a recipient first, with RCPT", Self.acceptance, Self.refusal, "begin <a@b> <c@here.example>",
        "354 Send the message, end it with <CRLF>.<CRLF>", "store x\n", "250 2.0.0 Delivered as name",
        "252 2.5.0 Cannot verify, but RCPT is refused if the domain is not ours",
      ])
    XCTAssertEqual(session.violations, [])
  }

  func testNamesThatAreNoDomains() {
    for name in ["", " ", "a b", "here.example.", ".here", "a..b", "-a.example", "a@b", "b>", "b> x", "[", "[]", "\u{FC}.example"] {
      var domains = RecipientDomains()
      XCTAssertFalse(domains.add(name), name)
    }
  }

  /// The option, twice, in the real program.
  func testTheOption() throws {
    let server = try RunningServer(["--domain", "One.example", "--domain=two.example"])
    _ = server.reply()
    server.send(
      "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@one.EXAMPLE>\r\nRCPT TO:<a@two.example>\r\nRCPT TO:<a@three.example>\r\nQUIT\r\n")
    let lines = server.remainder().components(separatedBy: "\r\n")
    XCTAssertEqual(Array(lines.suffix(5)), [Self.acceptance, Self.acceptance, Self.refusal, "221 2.0.0 Bye", ""])
    XCTAssertEqual(server.wait(), .exited(0))

    let wrong = try RunningServer(["--domain", "a b"])
    XCTAssertEqual(wrong.wait(), .exited(100))
    XCTAssertEqual(wrong.log, "maildir-smtpd: --domain a b: not a domain, such as example.org\n")
  }

  // MARK: -

  private var domains: RecipientDomains {
    var domains = RecipientDomains()
    for name in ["Here.example", "[192.0.2.1]", "[IPv6:2001:db8::1]"] { XCTAssertTrue(domains.add(name), name) }
    return domains
  }

  private func reply(to recipient: String, domains: RecipientDomains? = nil) -> String? {
    var policy = ScriptedSession.policy
    policy.domains = domains ?? self.domains
    var session = ScriptedSession(policy: policy)
    let script = "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:\(recipient)\r\n"
    session.send(Array(script.utf8), cutAt: [script.utf8.count])
    XCTAssertEqual(session.violations, [])
    return session.events.last
  }
}
