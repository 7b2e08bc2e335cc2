// DialogueTests: every command and every refusal, as transcripts.

import MaildirSMTPD
import XCTest

@testable import MaildirKit

final class DialogueTests: XCTestCase {
  static let extensions =
    "250-mx.example|250-PIPELINING|250-8BITMIME|250-SIZE 60|250 ENHANCEDSTATUSCODES"
  static let begun = [extensions, "250 2.1.0 Sender accepted", "250 2.1.5 Recipient accepted"]
  static let ready = begun + ["begin <a@b> <c@d>", "354 Send the message, end it with <CRLF>.<CRLF>"]
  static let toRecipient = "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
  static let toData = toRecipient + "DATA\r\n"

  func testGreeting() {
    XCTAssertEqual(Dialogue(ScriptedSession.policy).greeting.text, "220 mx.example ESMTP\r\n")
  }

  func testOneMessage() {
    assertScript(
      Self.toData + "Subject: x\r\n\r\nbody\r\n.\r\nQUIT\r\n",
      Self.ready + ["store Subject: x\n\nbody\n", "250 2.0.0 Delivered as name", "221 2.0.0 Bye"])
  }

  func testTwoMessagesAndANullSender() {
    assertScript(
      Self.toData + ".\r\nMAIL FROM:<>\r\nRCPT TO:<POSTMASTER>\r\nDATA\r\nx\r\n.\r\n",
      Self.ready + [
        "store ", "250 2.0.0 Delivered as name", "250 2.1.0 Sender accepted", "250 2.1.5 Recipient accepted",
        "begin <> <POSTMASTER>", "354 Send the message, end it with <CRLF>.<CRLF>", "store x\n",
        "250 2.0.0 Delivered as name",
      ])
  }

  func testHelloWords() {
    assertScript("helo x\r\n", ["250 mx.example"])
    assertScript("eHlO [192.0.2.1]\r\n", [Self.extensions])
    for word in ["EHLO", "HELO", "EHLO  "] {
      assertScript("\(word)\r\n", ["501 5.5.4 This command needs an argument"])
    }
    for name in ["a b", "\u{FC}", "a\tb", "a\u{1}", "a\u{7F}", String(repeating: "a", count: 256)] {
      assertScript("EHLO \(name)\r\n", ["501 5.5.4 That is not a host's name"])
    }
    assertScript("EHLO \(String(repeating: "a", count: 255))\r\n", [Self.extensions])
  }

  func testRefusedHelloChangesNothing() {
    assertScript(
      Self.toRecipient + "EHLO\r\nDATA\r\n.\r\n",
      Self.begun + ["501 5.5.4 This command needs an argument"] + Self.ready.suffix(2)
        + ["store ", "250 2.0.0 Delivered as name"])
  }

  func testHelloAndResetEndATransaction() {
    for (line, reply) in [("EHLO y", Self.extensions), ("HELO y", "250 mx.example"), ("RSET", "250 2.0.0 OK")] {
      assertScript(
        Self.toRecipient + "\(line)\r\nRCPT TO:<c@d>\r\n",
        Self.begun + [reply, "503 5.5.1 Give the sender first, with MAIL"])
    }
  }

  func testSequence() {
    assertScript("MAIL FROM:<a@b>\r\n", ["503 5.5.1 Say EHLO or HELO first"])
    assertScript("RCPT TO:<a@b>\r\n", ["503 5.5.1 Give the sender first, with MAIL"])
    assertScript("DATA\r\n", ["503 5.5.1 Give the sender first, with MAIL"])
    assertScript(
      "HELO x\r\nMAIL FROM:<a@b>\r\nMAIL FROM:<a@b>\r\nDATA\r\n",
      [
        "250 mx.example", "250 2.1.0 Sender accepted", "503 5.5.1 The sender is already given",
        "503 5.5.1 Give a recipient first, with RCPT",
      ])
    assertScript(
      Self.toData + ".\r\nDATA\r\n",
      Self.ready + ["store ", "250 2.0.0 Delivered as name", "503 5.5.1 Give the sender first, with MAIL"])
  }

  func testSmallCommandsAtAnyTime() {
    assertScript(
      "NOOP\r\nNOOP anything at all\r\nVRFY x\r\nVRFY\r\nHELP\r\nHELP me\r\n"
        + "RSET\r\nRSET x\r\nQUIT now\r\nquit \t \r\nNOOP\r\n",
      [
        "250 2.0.0 OK", "250 2.0.0 OK", "252 2.5.0 Cannot verify, but mail to any valid address is accepted",
        "501 5.5.4 This command needs an argument", "214 2.0.0 EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT",
        "214 2.0.0 EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT", "250 2.0.0 OK",
        "501 5.5.4 This command takes no argument", "501 5.5.4 This command takes no argument", "221 2.0.0 Bye",
      ])
    assertScript(
      Self.toRecipient + "DATA now\r\n", Self.begun + ["501 5.5.4 This command takes no argument"])
  }

  func testUnknownAndUnimplemented() {
    for word in ["FOO", "MAILX FROM:<a@b>", "EHLO\tx", "M\u{C4}IL", "LONGLONGLONG", "XCLIENT a=b", "LHLO x"] {
      assertScript("\(word)\r\n", ["500 5.5.1 Command not known"])
    }
    for word in ["AUTH PLAIN x", "STARTTLS", "EXPN l", "ETRN", "TURN", "SEND FROM:<a@b>", "SOML", "SAML"] {
      assertScript("\(word)\r\n", ["502 5.5.1 Command not implemented"])
    }
    for line in ["", " ", " NOOP", "\tNOOP"] {
      assertScript("\(line)\r\n", ["500 5.5.2 No command in this line"])
    }
  }

  func testBrowsersAreSentAway() {
    for word in ["GET / HTTP/1.1", "post /", "PUT", "HEAD /", "OPTIONS *", "CONNECT x:25", "DELETE", "PATCH", "TRACE"] {
      assertScript("\(word)\r\n" + Self.toData, ["554 5.5.1 This is an SMTP server"])
    }
  }

  func testOctetsOfAChunkAreNoCommands() {
    assertScript("BDAT 6 LAST\r\nNOOP\r\nNOOP\r\n", ["502 5.5.1 Command not implemented", "250 2.0.0 OK"])
    assertScript("bdat 0\r\nNOOP\r\n", ["502 5.5.1 Command not implemented", "250 2.0.0 OK"])
    for argument in ["", " ", " x", " -1", " 1x", " 99999999999999999999"] {
      assertScript("BDAT\(argument)\r\nNOOP\r\n", ["501 5.5.4 Bad chunk size, closing connection"])
    }
  }

  func testMailArguments() {
    let accepted = "250 2.1.0 Sender accepted"
    for (argument, reply) in [
      ("FROM:<a@b>", accepted), ("from:<a@b> size=60 body=8bitmime", accepted), ("FROM: <a@b>", accepted),
      ("FROM:<a@b>  BODY=7BIT ", accepted), ("FROM:<>", accepted), ("FROM:<a@b> SIZE=0", accepted),
      ("FROM:<a@b> SIZE=61", "552 5.3.4 Message larger than the limit"),
      ("FROM:<a@b> SIZE=99999999999999999999", "552 5.3.4 Message larger than the limit"),
      ("FROM:<a@b> SIZE=100000000000000000000", "501 5.5.4 Bad parameter"),
      ("FROM:<a@b> SIZE=", "501 5.5.4 Bad parameter"), ("FROM:<a@b> SIZE", "501 5.5.4 Bad parameter"),
      ("FROM:<a@b> SIZE=-1", "501 5.5.4 Bad parameter"), ("FROM:<a@b> SIZE=1 SIZE=1", "501 5.5.4 Bad parameter"),
      ("FROM:<a@b> BODY=BINARYMIME", "501 5.5.4 Bad parameter"), ("FROM:<a@b> BODY", "501 5.5.4 Bad parameter"),
      ("FROM:<a@b> =x", "501 5.5.4 Bad parameter"), ("FROM:<a@b> A=b=c", "501 5.5.4 Bad parameter"),
      ("FROM:<a@b> -A", "501 5.5.4 Bad parameter"), ("FROM:<a@b>SIZE=1", "501 5.5.4 Bad parameter"),
      ("FROM:<a@b> RET=HDRS", "555 5.5.4 Parameter not known"), ("FROM:<a@b> X", "555 5.5.4 Parameter not known"),
      ("", "501 5.5.4 Syntax: MAIL FROM:<address>"), ("<a@b>", "501 5.5.4 Syntax: MAIL FROM:<address>"),
      ("TO:<a@b>", "501 5.5.4 Syntax: MAIL FROM:<address>"), ("FROM", "501 5.5.4 Syntax: MAIL FROM:<address>"),
      ("FROM :<a@b>", "501 5.5.4 Syntax: MAIL FROM:<address>"), ("FROM:a@b", "501 5.1.7 Bad sender address"),
      ("FROM:<a>", "501 5.1.7 Bad sender address"), ("FROM:", "501 5.1.7 Bad sender address"),
      ("FROM:<postmaster>", "501 5.1.7 Bad sender address"), ("FROM:<a@b", "501 5.1.7 Bad sender address"),
    ] {
      assertScript("HELO x\r\nMAIL \(argument)\r\n", ["250 mx.example", reply])
    }
  }

  func testRecipientArguments() {
    for (argument, reply) in [
      ("TO:<a@b>", "250 2.1.5 Recipient accepted"), ("to: <Postmaster>", "250 2.1.5 Recipient accepted"),
      ("TO:<a@b> NOTIFY=NEVER", "555 5.5.4 Parameter not known"), ("TO:<a@b> =", "501 5.5.4 Bad parameter"),
      ("", "501 5.5.4 Syntax: RCPT TO:<address>"), ("FROM:<a@b>", "501 5.5.4 Syntax: RCPT TO:<address>"),
      ("TO:<>", "501 5.1.3 Bad recipient address"), ("TO:<a>", "501 5.1.3 Bad recipient address"),
      ("TO:a@b", "501 5.1.3 Bad recipient address"),
    ] {
      assertScript(
        "HELO x\r\nMAIL FROM:<>\r\nRCPT \(argument)\r\n", ["250 mx.example", "250 2.1.0 Sender accepted", reply])
    }
  }

  func testRecipientsAreLimitedAndCountedOnce() {
    let accepted = "250 2.1.5 Recipient accepted"
    let many = "452 4.5.3 Too many recipients"
    assertScript(
      "HELO x\r\nMAIL FROM:<>\r\n"
        + ["a@b", "A@b", "a@B", "a@c", "a@d", "a@b", "postmaster", "A@B"].map { "RCPT TO:<\($0)>\r\n" }.joined()
        + "DATA\r\n.\r\n",
      ["250 mx.example", "250 2.1.0 Sender accepted"]
        + [accepted, accepted, accepted, accepted, many, accepted, many, accepted]
        + [
          "begin <> <a@b> <A@b> <a@c>", "354 Send the message, end it with <CRLF>.<CRLF>", "store ",
          "250 2.0.0 Delivered as name",
        ])
  }

  func testBrokenLinesAreRefusedOnceAndSkipped() {
    assertScript(
      "VRFY a\nRSET\r\nNOOP\r\n", ["500 5.5.2 A line ends with CRLF, not with LF alone", "250 2.0.0 OK"])
    assertScript("VRFY a\rRSET\r\nNOOP\r\n", ["500 5.5.2 CR without LF in a command", "250 2.0.0 OK"])
    assertScript("VRFY a\r\r\nNOOP\r\n", ["500 5.5.2 CR without LF in a command", "250 2.0.0 OK"])
    assertScript("VRFY a\0b\nc\rd\r\nNOOP\r\n", ["500 5.5.2 NUL in a command", "250 2.0.0 OK"])
    assertScript("\n\n\n\r\nNOOP\r\n", ["500 5.5.2 A line ends with CRLF, not with LF alone", "250 2.0.0 OK"])
    assertScript(
      "VRFY " + String(repeating: "x", count: 2042) + "\nSTARTTLS\r\nNOOP\r\n",
      ["500 5.5.2 Line too long", "250 2.0.0 OK"])
    assertScript(
      "VRFY " + String(repeating: "x", count: 2041) + "\r\n",
      ["252 2.5.0 Cannot verify, but mail to any valid address is accepted"])
  }

  func testStorageFailures() {
    assertScript(
      Self.toData + "NOOP\r\n",
      Array(Self.ready.dropLast()) + ["452 4.3.1 No room for the message, try again later", "250 2.0.0 OK"]
    ) { $0.opening = .full }
    assertScript(
      Self.toData + "NOOP\r\n",
      Array(Self.ready.dropLast()) + ["451 4.3.0 The message cannot be stored, try again later", "250 2.0.0 OK"]
    ) { $0.opening = .broken }
    assertScript(
      Self.toData + "123456\r\n.\r\nNOOP\r\n",
      Self.ready + [
        "store 123456\n", "451 4.3.0 The message cannot be stored, try again later", "250 2.0.0 OK",
      ]
    ) { $0.committing = .broken }
  }

  func testStorageThatFailsHalfway() {
    // The message is cut after five octets, so that there is a call to fail before its end.
    for (rest, reply) in [
      ("67\r\n.\r\n", "452 4.3.1 No room for the message, try again later"),
      ("67\n.\r\n\r\n.\r\n", "554 5.6.0 CR or LF alone in the message"),
      (String(repeating: "x", count: 60) + "\r\n.\r\n", "552 5.3.4 Message larger than the limit"),
    ] {
      var session = ScriptedSession()
      session.writing = .full
      session.send(Array(Self.toData.utf8), cutAt: [1000])
      session.send(Array("12345".utf8), cutAt: [1000])
      session.send(Array((rest + "NOOP\r\n").utf8), cutAt: [1000])
      XCTAssertEqual(session.events, Self.ready + [reply, "250 2.0.0 OK"])
    }
  }

  func testUnsolicitedAnswersChangeNothing() {
    var dialogue = Dialogue(ScriptedSession.policy)
    let before = dialogue
    XCTAssertEqual(dialogue.began(nil), .wait)
    XCTAssertEqual(dialogue.committed(.success("x")), .wait)
    dialogue.failed(.full)
    XCTAssertEqual(dialogue, before)
    XCTAssertFalse(dialogue.isInsideMessage)
  }
}
