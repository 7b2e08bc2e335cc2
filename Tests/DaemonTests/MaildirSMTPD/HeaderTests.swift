// HeaderTests: addresses, dates, and the header lines made of them.

import PropertyKit
import Foundation
import MaildirSMTPD
import XCTest

final class HeaderTests: XCTestCase {
  private func envelope(
    hello: String = "EHLO c.example", sender: String = "<a@b>", recipients: [String] = ["<c@d>"]
  ) throws -> Envelope {
    var dialogue = Dialogue(Dialogue.Policy(host: "h", sizeLimit: 0, recipientsLimit: 100))
    var content: [UInt8] = []
    let lines = [hello, "MAIL FROM:\(sender)"] + recipients.map { "RCPT TO:\($0)" } + ["DATA"]
    for line in lines {
      if case .begin(let envelope) = dialogue.receive(Array("\(line)\r\n".utf8)[...], storing: &content).action {
        return envelope
      }
    }
    throw Failure("no envelope")
  }

  private func header(
    _ envelope: Envelope, _ environment: [String: String] = [:], seconds: Int64 = 0
  ) -> [String] {
    let header = TraceHeader(
      envelope: envelope, connection: Connection { environment[$0] }, host: "mx.example", name: "id1",
      time: WallTime(seconds: seconds))
    return header.text.components(separatedBy: "\n")
  }

  func testTheLines() throws {
    XCTAssertEqual(
      header(try envelope(sender: "<>", recipients: ["<c@d>", "<Postmaster>", "<\"a b\"@d>", "<C@D>", "<c@D>"])),
      [
        "Return-Path: <>", "Delivered-To: c@d", "Delivered-To: Postmaster", "Delivered-To: \"a b\"@d",
        "Delivered-To: C@D", "Received: from c.example", " by mx.example with ESMTP id id1;",
        " Thu, 01 Jan 1970 00:00:00 +0000", "",
      ])
  }

  func testProtocolsAndAddresses() throws {
    let tls = ["SSL_PROTOCOL": "TLSv1.2", "SSL_CIPHER": "ECDHE-X", "TCPREMOTEIP": "2001:db8::1"]
    XCTAssertEqual(
      Array(header(try envelope(), tls)[2...3]),
      ["Received: from c.example ([IPv6:2001:db8::1])", " by mx.example with ESMTPS (TLSv1.2 ECDHE-X) id id1;"])
    XCTAssertEqual(
      header(try envelope(hello: "HELO x"), ["SSL_PROTOCOL": "TLSv1.3"])[3],
      " by mx.example with SMTP (TLSv1.3) id id1;")
    XCTAssertEqual(
      Array(header(try envelope(hello: "HELO x"), ["SSL_PROTOCOL": "", "TCPREMOTEIP": "192.0.2.1"])[2...3]),
      ["Received: from x ([192.0.2.1])", " by mx.example with SMTP id id1;"])
  }

  func testNothingIsInjected() throws {
    let evil = "x\r\nBcc: (a) <b>;\u{1}\u{FC}"
    let lines = header(
      try envelope(hello: "EHLO x(y)<z>;\"\\,@"),
      ["TCPREMOTEIP": evil, "SSL_PROTOCOL": evil, "SSL_CIPHER": String(repeating: "y", count: 1000)])
    let made = "x??Bcc:??a???b?????"
    XCTAssertEqual(lines[2], "Received: from x?y??z?????? ([IPv6:\(made)])")
    XCTAssertEqual(lines[3], " by mx.example with ESMTPS (\(made) \(String(repeating: "y", count: 255))) id id1;")
    XCTAssertTrue(lines.allSatisfy { $0.utf8.count <= 998 })
  }

  func testDates() throws {
    let envelope = try envelope()
    for (seconds, date) in [
      (0, "Thu, 01 Jan 1970 00:00:00 +0000"), (-1, "Wed, 31 Dec 1969 23:59:59 +0000"),
      (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"), (951_868_800, "Wed, 01 Mar 2000 00:00:00 +0000"),
      (1_764_025_709, "Mon, 24 Nov 2025 23:08:29 +0000"), (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 +0000"),
      (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 +0000"), (.max, "Thu, 01 Jan 1970 00:00:00 +0000"),
      (.min, "Thu, 01 Jan 1970 00:00:00 +0000"),
    ] as [(Int64, String)] {
      XCTAssertEqual(header(envelope, seconds: seconds)[4], " " + date)
    }
  }

  func testAddresses() {
    let label = String(repeating: "a", count: 63)
    for (path, address) in [
      ("<a@b>", "a@b"), ("<a.b+c@d.example>", "a.b+c@d.example"), ("<!#$%&'*+-/=?^_`{|}~@x>", "!#$%&'*+-/=?^_`{|}~@x"),
      ("<\"a@b>\\\"c\"@d>", "\"a@b>\\\"c\"@d"), ("<\"\"@d>", "\"\"@d"), ("<a@[192.0.2.1]>", "a@[192.0.2.1]"),
      ("<a@[IPv6:::1]>", "a@[IPv6:::1]"), ("<@r,@s.t:a@b>", "a@b"), ("<a@\(label).b>", "a@\(label).b"),
      ("<a@b_c.d-e>", "a@b_c.d-e"), ("<a@1.2>", "a@1.2"), ("<pOSTMASTER>", "pOSTMASTER"), ("<a@b> x", "a@b"),
      ("<\(String(repeating: "l", count: 508))@b.c>", String(repeating: "l", count: 508) + "@b.c"),
    ] {
      let parsed = MailPath.parse(Array(path.utf8)[...], for: .recipient)
      XCTAssertEqual(parsed?.path.address, address, path)
      XCTAssertEqual(parsed.map { String(decoding: $0.rest, as: UTF8.self) }, path.hasSuffix(" x") ? " x" : "", path)
    }
    for path in [
      "", "<", "<>", "a@b", "<a@b", "a@b>", "<a>", "<@b>", "<a@>", "<.a@b>", "<a.@b>", "<a..b@c>", "<a@b.>", "<a@.b>",
      "<a@b..c>", "<a@-b>", "<a@b->", "<a@b.-c>", "<a b@c>", "<a@b c>", "<a@b@c>",
      "<\"a@b>", "<\"a\"b@c>", "<\"a\u{1}\"@b>",
      "<\"\\", "<\"\\\">", "<a@[]>", "<a@[1>", "<a@[1]2>", "<a@[[1]]>", "<a@[1 2]>",
      "<a@\(label)a>", "<@r:>", "<@r a@b>", "<@r,:a@b>",
      "<@r,s:a@b>", "<\u{FC}@b>", "<a@\u{FC}>", "<a\0@b>", "<a(c)@b>", "<a,b@c>", "<<a@b>>", "<postmaster@>",
      "<\(String(repeating: "l", count: 509))@b.c>", "<a@\(String(repeating: "b.", count: 128))b>",
    ] {
      XCTAssertNil(MailPath.parse(Array(path.utf8)[...], for: .recipient)?.path.address, path)
    }
    XCTAssertEqual(MailPath.parse(Array("<>".utf8)[...], for: .sender)?.path.address, "")
    XCTAssertNil(MailPath.parse(Array("<postmaster>".utf8)[...], for: .sender)?.path.address)
  }
}
