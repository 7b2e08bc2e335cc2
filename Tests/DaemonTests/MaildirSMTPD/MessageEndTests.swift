// MessageEndTests: what ends a message, what does not, and what is stored.

import PropertyKit
import MaildirSMTPD
import XCTest

@testable import MaildirKit

final class MessageEndTests: XCTestCase {
  private static let follower = "MAIL FROM:<evil@x>\r\nRCPT TO:<v@x>\r\nDATA\r\n"

  /// SMTP smuggling: whatever another server may take for the end of a message, here the message goes on to CRLF.CRLF,
  /// is refused whole, and nothing in it becomes a command.
  func testOnlyTheTrueEndEndsAMessage() {
    let ends = [
      "\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\n.\r", "\r.\n", "\r\r\n.\r\r\n", "\r\n.\r\r\n",
      "\r\n\n.\n", "\n\n.\n\n", "\r\n.\0\r\n\n", "\r\n\0.\r\n\n", "\r\n\r.\r\n", "\n\r.\n\r", "\r\n.\r\0\n",
    ]
    for end in ends {
      assertScript(
        DialogueTests.toData + "a" + end + Self.follower + "b\r\n.\r\nNOOP\r\n",
        DialogueTests.ready + ["abandon", "554 5.6.0 CR or LF alone in the message", "250 2.0.0 OK"])
    }
  }

  /// Lines that look like an end and are none, in a message without any bare CR or LF.
  func testLinesThatBeginWithADot() {
    for (sent, stored) in [
      ("..\r\n", ".\n"), (". \r\n", " \n"), (".a\r\n", "a\n"), ("...\r\n", "..\n"), (".\0\r\n", "\0\n"),
      ("a.\r\n", "a.\n"), ("a\r\n..\r\nb\r\n", "a\n.\nb\n"), ("\r\n\r\n", "\n\n"), ("", ""),
      ("\u{FF}\u{1}\r\n", "\u{FF}\u{1}\n"),
    ] {
      assertScript(
        DialogueTests.toData + sent + ".\r\nNOOP\r\n",
        DialogueTests.ready + ["store \(stored)", "250 2.0.0 Delivered as name", "250 2.0.0 OK"])
    }
  }

  func testTheSizeCountsLineEndsAsTwoAndStuffedDotsNotAtAll() {
    let fits = String(repeating: "x", count: 55) + "\r\n..\r\n"
    assertScript(
      DialogueTests.toData + fits + ".\r\n",
      DialogueTests.ready
        + ["store " + String(repeating: "x", count: 55) + "\n.\n", "250 2.0.0 Delivered as name"])
    for over in ["x" + fits, String(repeating: "x", count: 61), String(repeating: "\r\n", count: 31)] {
      assertScript(
        DialogueTests.toData + over + "\r\n.\r\nNOOP\r\n",
        DialogueTests.ready + ["abandon", "552 5.3.4 Message larger than the limit", "250 2.0.0 OK"])
    }
  }

  /// The first fault is the one that is reported.
  func testAMessageWithTwoFaultsIsRefusedOnce() {
    let long = String(repeating: "x", count: 70)
    assertScript(
      DialogueTests.toData + long + "\n.\n\r\n.\r\n",
      DialogueTests.ready + ["abandon", "552 5.3.4 Message larger than the limit"])
    assertScript(
      DialogueTests.toData + "\n" + long + "\r\n.\r\n",
      DialogueTests.ready + ["abandon", "554 5.6.0 CR or LF alone in the message"])
  }

  func testNoLimit() {
    var session = ScriptedSession(policy: Dialogue.Policy(host: "h", sizeLimit: 0, recipientsLimit: 1))
    let line = String(repeating: "y", count: 100_000)
    session.send(
      Array("HELO x\r\nMAIL FROM:<> SIZE=99999999999999999999\r\nRCPT TO:<a@b>\r\nDATA\r\n\(line)\r\n.\r\n".utf8),
      cutAt: [777])
    XCTAssertEqual(session.events.suffix(2), ["store \(line)\n", "250 2.0.0 Delivered as name"])
  }

  /// Random mixtures of what matters, in random pieces: no trap, and never another result than in one piece.
  func testRandomOctetsInRandomPieces() {
    let words = [
      "EHLO x\r\n", "MAIL FROM:<a@b>\r\n", "RCPT TO:<c@d>\r\n", "DATA\r\n", ".\r\n",
      "\r\n", "\r", "\n", ".", "\0", "x", "RSET\r\n",
      "QUIT", "BDAT 5\r\n", "\"", "<", ">", "@", "FROM:", " ", "SIZE=", "\u{FF}", String(repeating: "z", count: 50),
    ]
    var generator = SplitMix(state: 20_251_124)
    for round in 0..<3000 {
      var octets: [UInt8] = []
      if round % 2 == 0 { octets += DialogueTests.toData.utf8 }
      for _ in 0..<Int.random(in: 1...40, using: &generator) {
        if Int.random(in: 0..<8, using: &generator) == 0 {
          octets.append(UInt8.random(in: 0...255, using: &generator))
        } else {
          octets += words[Int.random(in: 0..<words.count, using: &generator)].utf8
        }
      }
      var whole = ScriptedSession()
      whole.send(octets, cutAt: [octets.count])
      var pieces = ScriptedSession()
      pieces.send(octets, cutAt: (0..<50).map { _ in Int.random(in: 1...9, using: &generator) })
      if whole.events != pieces.events { return XCTFail("round \(round): \(octets)") }
    }
  }
}
