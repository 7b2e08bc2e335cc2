// SMTPProbeTests: the client of the checks, without a socket: what a script does, for each thing that a server may do.

import SMTPProbe
import XCTest

final class SMTPProbeTests: XCTestCase {
  private func probe(_ steps: String, padding: Int = 0, sweep: Bool = false) throws -> SMTPProbe {
    let head = "rule A.\nsource x\nseverity low\n" + (sweep ? "sweep 16\n" : "")
    var values = SMTPProbe.Values()
    (values.client, values.padding) = ("c.example", padding)
    return SMTPProbe(try CheckParser.parse(head + steps, identifier: "lines/x"), values)
  }

  private func octets(_ text: String) -> [UInt8] { Array(text.utf8) }

  func testADialogue() throws {
    var probe = try probe("expect 220\nC: EHLO \\{client}\nC: NOOP\nexpect 250 lists SIZE\nexpect 250\nconforms Yes.\n")
    XCTAssertEqual(probe.next(), .connect)
    XCTAssertEqual(probe.next(), .await(.reply, step: 0))
    probe.receive(octets("220 be.exa"))
    XCTAssertEqual(probe.next(), .await(.reply, step: 0))
    probe.receive(octets("mple\r\n"))
    XCTAssertEqual(probe.next(), .send(octets("EHLO c.example\r\nNOOP\r\n")))
    XCTAssertEqual(probe.next(), .await(.reply, step: 3))
    probe.receive(octets("250-be.example\r\n250 SIZE 10\r\n250 ok\r\n"))
    XCTAssertEqual(probe.next(), .finish(Finding(.conforms, "Yes.")))
    XCTAssertEqual(probe.next(), .finish(Finding(.conforms, "Yes.")))
  }

  func testSegments() throws {
    var probe = try probe("C: A\nflush\nC: B\ncut\nC: C\\\nend\nreconnect\nconforms Yes.\n")
    XCTAssertEqual(probe.next(), .connect)
    for command: SMTPProbe.Command in [
      .send(octets("A\r\n")), .send(octets("B\r\n")), .pause, .send(octets("C")), .endSending, .connect,
      .finish(Finding(.conforms, "Yes.")),
    ] { XCTAssertEqual(probe.next(), command) }
  }

  func testTheHandshake() throws {
    var probe = try probe("C: STARTTLS\nhello\nexpect 220\ntls cut 1\nexpect established\nconforms Yes.\n")
    var request = TLSRequest()
    request.cut = 1
    XCTAssertEqual(probe.next(), .connect)
    XCTAssertEqual(probe.next(), .prepareHello(request))
    probe.prepared([0x16, 3])
    XCTAssertEqual(probe.next(), .send(octets("STARTTLS\r\n") + [0x16, 3]))
    XCTAssertEqual(probe.next(), .await(.reply, step: 2))
    // The first octets of the server's TLS come with the 220.
    probe.receive(octets("220 go\r\n") + [0x16, 9])
    XCTAssertEqual(probe.next(), .startTLS(request, received: [0x16, 9]))
    XCTAssertEqual(probe.next(), .await(.reply, step: 4))
    probe.established()
    XCTAssertEqual(probe.next(), .finish(Finding(.conforms, "Yes.")))
  }

  func testOctetsInClearInPlaceOfTLS() throws {
    var probe = try probe("expect 220\ntls\nexpect established\nor clear: deviates Clear.\nconforms Yes.\n")
    _ = probe.next()
    probe.receive(octets("220 go\r\n250 ok\r\n"))
    XCTAssertEqual(probe.next(), .finish(Finding(.deviates, "Clear.", observed: "in clear: 250 ok\\r\\n")))
  }

  /// `failed` matches both ends of a handshake, `refused` that by the server only.
  func testWhoEndsTheHandshake() throws {
    for (patterns, refused, failed) in [
      ("refused\nor failed: untested Failed.", Verdict.conforms, Verdict.untested), ("failed", .conforms, .conforms),
    ] {
      for (isRefused, verdict) in [(true, refused), (false, failed)] {
        var probe = try probe("expect 220\ntls\nexpect \(patterns)\nconforms Yes.\n")
        _ = probe.next()
        probe.receive(octets("220 go\r\n"))
        XCTAssertEqual(probe.next(), .startTLS(TLSRequest(), received: []))
        if isRefused { probe.handshakeRefused("x") } else { probe.handshakeFailed("x") }
        guard case .finish(let finding) = probe.next() else { return XCTFail(patterns) }
        XCTAssertEqual(finding.verdict, verdict, patterns)
      }
    }
  }

  /// What a script does not mention never ends in `conforms` or `vulnerable`.
  func testWhatIsNotMentioned() throws {
    let events: [(String, (inout SMTPProbe) -> Void, Verdict)] = [
      ("reply", { $0.receive(Array("250 x\r\n".utf8)) }, .untested),
      ("garbage", { $0.receive(Array("hello\r\n".utf8)) }, .deviates),
      ("two codes", { $0.receive(Array("250-a\r\n220 b\r\n".utf8)) }, .deviates),
      ("a long line", { $0.receive(Array(repeating: UInt8(ascii: "2"), count: 5000)) }, .deviates),
      ("half a reply", { $0.receive(Array("250-a\r\n25".utf8)); $0.expired() }, .deviates),
      ("alert", { $0.receive([0x15, 3, 3]) }, .untested),
      ("end", { $0.ended() }, .untested),
      ("silence", { $0.expired() }, .untested),
      ("refused", { $0.handshakeRefused("x") }, .untested),
      ("failed", { $0.handshakeFailed("x") }, .untested),
    ]
    for (name, event, verdict) in events {
      var probe = try probe("expect 220\nexpect 354\nconforms Yes.\n")
      _ = probe.next()
      probe.receive(octets("220 x\r\n"))
      XCTAssertEqual(probe.next(), .await(.reply, step: 1))
      event(&probe)
      guard case .finish(let finding) = probe.next() else { return XCTFail(name) }
      XCTAssertEqual(finding.verdict, verdict, name)
      XCTAssertFalse(finding.stops, name)
    }
  }

  func testARefusedClientStopsAll() throws {
    for greeting in ["421 busy\r\n", "554 no\r\n", "hello\r\n"] {
      var probe = try probe("expect 220\nconforms Yes.\n")
      _ = probe.next()
      probe.receive(octets(greeting))
      guard case .finish(let finding) = probe.next() else { return XCTFail(greeting) }
      XCTAssertTrue(finding.stops, greeting)
      XCTAssertEqual(finding.verdict, .untested, greeting)
    }
  }

  /// A late deadline does not hide a reply that has arrived.
  func testAReplyBeforeTheSilence() throws {
    var probe = try probe("expect silence\nor anything: vulnerable Executed.\nconforms Yes.\n")
    _ = probe.next()
    XCTAssertEqual(probe.next(), .await(.quiet, step: 0))
    probe.receive(octets("250 ok\r\n"))
    probe.expired()
    XCTAssertEqual(probe.next(), .finish(Finding(.vulnerable, "Executed.", observed: "250 ok")))
  }

  func testPaddingEndsTheStarttlsLineWhereTheSweepSays() throws {
    for length in Array(SMTPProbe.paddingMinimum...40) + Array(490...530) + Array(990...1040) + [8200] {
      var probe = try probe("padding\nC: STARTTLS\nC: NOOP\nexpect padding\nconforms Yes.\n", padding: length, sweep: true)
      _ = probe.next()
      guard case .send(let segment) = probe.next() else { return XCTFail("\(length)") }
      XCTAssertEqual(segment.prefix(length).suffix(10), octets("STARTTLS\r\n")[...], "\(length)")
      let lines = String(decoding: segment, as: UTF8.self).split(separator: "\r\n")
      XCTAssertTrue(lines.dropLast(2).allSatisfy { $0.hasPrefix("NOOP") && $0.utf8.count <= 498 }, "\(length)")
      for _ in 0..<(lines.count - 2) {
        XCTAssertEqual(probe.next(), .await(.reply, step: 3))
        probe.receive(octets("250 ok\r\n"))
      }
      XCTAssertEqual(probe.next(), .finish(Finding(.conforms, "Yes.")), "\(length)")
    }
  }

  /// A server may refuse NOOP with a text; a refused group ends the check.
  func testRepliesToPadding() throws {
    for (replies, verdict) in [("500 x\r\n220 go\r\n", Verdict.conforms), ("220 go\r\n", .conforms), ("", .untested)] {
      var probe = try probe("padding\nC: STARTTLS\nexpect padding\nexpect 220\nconforms Yes.\n", padding: 30, sweep: true)
      _ = (probe.next(), probe.next(), probe.next())
      probe.receive(octets(replies))
      probe.expired()
      guard case .finish(let finding) = probe.next() else { return XCTFail(replies) }
      XCTAssertEqual(finding.verdict, verdict, replies)
    }
    var probe = try probe("padding\nC: STARTTLS\nexpect padding\nexpect 220\nvulnerable No.\n", padding: 30, sweep: true)
    _ = (probe.next(), probe.next(), probe.next())
    probe.ended()
    XCTAssertEqual(
      probe.next(), .finish(Finding(.conforms, "The server refuses the group.", observed: "the connection ended")))
  }

  /// What a server sends reaches people as printable ASCII only.
  func testNothingOfAServerIsPrintedUnescaped() throws {
    var probe = try probe("expect 250\nconforms Yes.\n")
    _ = probe.next()
    probe.receive(octets("550 \u{1B}[2J\u{9B}\r\n"))
    guard case .finish(let finding) = probe.next() else { return XCTFail("finish") }
    for text in [finding.observed] + probe.transcript.lines {
      XCTAssertTrue(text.utf8.allSatisfy { (0x20...0x7E).contains($0) }, text)
    }
  }

  func testNoPasswordIsInTheTranscript() throws {
    var values = SMTPProbe.Values()
    values.plain = "AHVzZXIAc2VjcmV0"
    let text = "rule A.\nsource x\nseverity low\nonly credentials\nC: NOOP\nC: AUTH PLAIN \\{plain}\nexpect 235\nconforms Yes.\n"
    var probe = SMTPProbe(try CheckParser.parse(text, identifier: "lines/x"), values)
    _ = probe.next()
    XCTAssertEqual(probe.next(), .send(octets("NOOP\r\nAUTH PLAIN AHVzZXIAc2VjcmV0\r\n")))
    XCTAssertEqual(probe.transcript.lines, ["C: NOOP", "C: AUTH ***"])
  }

  /// A server may repeat the command: in its own case, cut, decoded, or in two segments.
  func testNoPasswordThatTheServerRepeatsIsShown() throws {
    var values = SMTPProbe.Values()
    (values.plain, values.password, values.encodedPassword) = ("AHVzZXIAcyJlXGMh", octets("s\"e\\c!"), "cyJlXGMh")
    let text = "rule A.\nsource x\nseverity low\nonly credentials\nC: AUTH PLAIN\nexpect 334\nC: \\{plain}\nexpect 235\nconforms Yes.\n"
    let check = try CheckParser.parse(text, identifier: "lines/x")
    let long = String(repeating: "x", count: 85)
    for (pieces, observed, shown) in [
      (["501 AUTH PLAIN AHVzZXIAcyJlXGMh is wrong\r\n"], "501 AUTH PLAIN *** is wrong", "S: 501 AUTH PLAIN *** is wrong"),
      (["501 auth plain ahvzzxiacyjlxgmh\r\n"], "501 auth plain ***", "S: 501 auth plain ***"),
      (["501 \0user\0s\"e\\c!\r\n"], "501 \\0user\\0***", "S: 501 \\0user\\0***"),
      (["501-cyJlXGMh\r\n501 no\r\n"], "501 *** (+1 lines)", "S: 501-***"),
      (["501 AHVzZXIAcyJ", "lXGMh\r\n"], "501 ***", "S: 501 ***"),
      (["501 AHVzZXIAcyJl...\r\n"], "501 ***...", "S: 501 ***..."),
      (["what is AHVzZXIAcyJlXGMh?\r\n"], "octets that are no reply: what is ***?\\r\\n", "S: what is ***?"),
      (["501 \(long)AHVzZXIAcyJlXGMh\r\n"], "501 \(long)***", "S: 501 \(long)***"),
    ] {
      var probe = SMTPProbe(check, values)
      _ = (probe.next(), probe.next())
      probe.receive(octets("334 \r\n"))
      XCTAssertEqual(probe.next(), .send(octets("AHVzZXIAcyJlXGMh\r\n")))
      for piece in pieces {
        _ = probe.next()
        probe.receive(octets(piece))
      }
      guard case .finish(let finding) = probe.next() else { return XCTFail(observed) }
      XCTAssertEqual(finding.observed, observed)
      XCTAssertEqual(Array(probe.transcript.lines.prefix(4)), ["C: AUTH ***", "S: 334 ", "C: ***", shown])
    }
  }

  /// What the server sent in clear where TLS was awaited, and what is no line yet.
  func testNoPasswordIsShownInPlaceOfTLS() throws {
    var values = SMTPProbe.Values()
    values.plain = "AHVzZXIAcyJlXGMh"
    let text = "rule A.\nsource x\nseverity low\nexpect 220\ntls\nexpect established\nor clear: deviates Clear.\nconforms Yes.\n"
    var probe = SMTPProbe(try CheckParser.parse(text, identifier: "lines/x"), values)
    _ = probe.next()
    probe.receive(octets("220 go\r\n"))
    _ = probe.next()
    probe.receivedClear(octets("501 AHVzZXIAcyJlXGMh"))
    XCTAssertEqual(probe.next(), .finish(Finding(.deviates, "Clear.", observed: "in clear: 501 ***")))
    XCTAssertEqual(probe.transcript.lines, ["S: 220 go", "S: 501 ***\\"])
  }

  /// The probe is total, and its transcript limited: random events in random order end, or wait.
  func testRandomEvents() throws {
    let text = try Repository.text("Fixtures/checks/injection/client-hello.check")
    let check = try CheckParser.parse(text, identifier: "injection/client-hello")
    let pieces = ["2", "20 ok\r\n", "250-x\r\n", "250 STARTTLS\r\n", "\u{15}", "\u{16}", "\0", "5yz", "\r\n"].map(octets)
    for _ in 0..<200 {
      var probe = SMTPProbe(check, SMTPProbe.Values())
      for _ in 0..<40 {
        switch Int.random(in: 0..<13) {
        case 0: probe.ended()
        case 1: probe.expired()
        case 2: probe.established()
        case 3: probe.handshakeFailed("x")
        case 4: probe.receivedClear([0x32])
        case 5: probe.examined("x", "y")
        case 6: probe.prepared([0x16])
        case 7: probe.handshakeRefused("x")
        default: probe.receive(pieces.randomElement()!)
        }
        if case .finish = probe.next() { break }
      }
      XCTAssertLessThan(probe.transcript.lines.count, 130)
    }
  }
}
