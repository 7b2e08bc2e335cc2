// STARTTLS with the client's octets cut at every place, and with octets that no server may receive.

import Foundation
import NIOCore
import NIOSMTPState
import SMTPState
import XCTest

final class STARTTLSTests: XCTestCase {
  private let mail = "MAIL FROM:<a@c>\r\nRCPT TO:<b@mx>\r\nDATA\r\nSubject: x\r\n\r\n..\r\n.\r\n"

  func testPoliteClient() throws {
    let talk = try Conversation()
    XCTAssertEqual(talk.codes(), [220])
    try talk.send("EHLO c\r\n")
    XCTAssertTrue(talk.received.contains("\r\n250-STARTTLS\r\n"), talk.received)
    try talk.send("STARTTLS\r\n")
    XCTAssertEqual(talk.codes(), [250, 220])
    try talk.startTLS(sending: talk.makeHello())
    XCTAssertEqual(talk.removed, 1, "the server of the clear phase is removed")
    try talk.send("MAIL FROM:<a@c>\r\n")
    XCTAssertEqual(talk.codes(), [503], "the EHLO of the clear phase has no effect inside TLS")
    try talk.send("EHLO c\r\n")
    XCTAssertFalse(talk.received.contains("STARTTLS"), talk.received)
    XCTAssertEqual(talk.codes(), [250])
    try talk.send(mail + "QUIT\r\n")
    XCTAssertEqual(talk.codes(), [250, 250, 354, 250, 221])
    XCTAssertEqual(talk.mails.count, 1)
    XCTAssertTrue(talk.mails[0].contains("with ESMTPS;"), talk.mails[0])
    XCTAssertTrue(talk.mails[0].hasSuffix("Subject: x\r\n\r\n.\r\n"), talk.mails[0])
    XCTAssertEqual(talk.given, ["EHLO c\r\n", "MAIL FROM:<a@c>\r\nEHLO c\r\n" + mail + "QUIT\r\n"])
    XCTAssertEqual(talk.outcomes, [.handedOff])
  }

  /// The client sends its ClientHello before the 220. Its octets are cut at every place, in clear and in the ClientHello.
  func testEagerClientAtEveryCut() throws {
    let count = try "EHLO c\r\nSTARTTLS\r\n".utf8.count + Conversation().makeHello().count
    for cut in 0...count {
      let talk = try Conversation()
      // The length of a ClientHello can differ by some octets.
      let octets = try Array("EHLO c\r\nSTARTTLS\r\n".utf8) + talk.makeHello()
      try talk.deliverCut(octets, at: min(cut, octets.count))
      XCTAssertEqual(talk.codes(), [220, 250, 220], "cut at \(cut)")
      try talk.send("EHLO c\r\nQUIT\r\n")
      XCTAssertEqual(talk.codes(), [250, 221], "cut at \(cut)")
      XCTAssertEqual(talk.given, ["EHLO c\r\n", "EHLO c\r\nQUIT\r\n"], "cut at \(cut)")
      XCTAssertEqual(talk.outcomes, [.handedOff, .closed(.quit)], "cut at \(cut)")
    }
  }

  /// The handoff waits until the kernel has the 220. Octets that arrive meanwhile go to the TLS handler.
  func testHandoffComesAfterThe220() throws {
    for hello in [true, false] {
      let talk = try Conversation()
      try talk.send("EHLO c\r\n")
      try talk.setSocketFull(true)
      try talk.send("STARTTLS\r\n")
      try talk.sendRaw(hello ? talk.makeHello() : Array("RSET\r\n".utf8))
      XCTAssertEqual(talk.outcomes, [])
      XCTAssertEqual(talk.codes(), [220, 250])
      try talk.setSocketFull(false)
      XCTAssertEqual(talk.outcomes, hello ? [.handedOff] : [.handedOff, .closed(.tlsFailed)])
      XCTAssertTrue(talk.received.hasPrefix("220 2.0.0 Ready to start TLS\r\n"), talk.received)
      XCTAssertEqual(talk.given[0], "EHLO c\r\n")
    }
  }

  /// Plain text after STARTTLS, cut at every place. It is refused or fails the handshake. No server receives it.
  func testInjectionAtEveryCut() throws {
    let clear = "EHLO c\r\nSTARTTLS\r\n"
    let octets = Array((clear + "RSET\r\nMAIL FROM:<evil@c>\r\n").utf8)
    for cut in 0...octets.count {
      let talk = try Conversation()
      try talk.deliverCut(octets, at: cut)
      // An embedded channel has no socket for the peek: later octets go to the TLS handler, and the handshake fails.
      if cut == clear.utf8.count {
        let parts = talk.received.components(separatedBy: "220 2.0.0 Ready to start TLS\r\n")
        XCTAssertEqual(parts.count, 2, talk.received)
        XCTAssertFalse(parts.last?.contains("250") ?? true, "a reply to the RSET: \(talk.received)")
        XCTAssertEqual(talk.outcomes, [.handedOff, .closed(.tlsFailed)])
      } else {
        XCTAssertEqual(talk.codes(), [220, 250, 554], "cut at \(cut)")
        XCTAssertEqual(talk.outcomes, [.abandoned(.injectedPlaintext), .closed(.injectedPlaintext)], "cut at \(cut)")
      }
      XCTAssertEqual(talk.given, ["EHLO c\r\n"], "cut at \(cut)")
      XCTAssertFalse(talk.isOpen, "cut at \(cut)")
    }
  }

  func testPipelinedMailInClearAtEveryCut() throws {
    let octets = Array(("EHLO c\r\nNOOP\r\nRSET\r\n" + mail + "NOOP\r\nQUIT\r\n").utf8)
    for cut in 0...octets.count {
      let talk = try Conversation()
      try talk.deliverCut(octets, at: cut)
      XCTAssertEqual(talk.codes(), [220, 250, 250, 250, 250, 250, 354, 250, 250, 221], "cut at \(cut)")
      XCTAssertEqual(talk.given, [String(decoding: octets, as: UTF8.self)], "cut at \(cut)")
      XCTAssertEqual(talk.mails.count, 1, "cut at \(cut)")
      XCTAssertEqual(talk.outcomes, [.abandoned(.mail)], "cut at \(cut)")
    }
  }

  /// A line with a bare LF is refused. If the policy tolerates a bare LF, the server receives CRLF.
  func testBareLineFeed() throws {
    let refused = try Conversation()
    try refused.send("EHLO c\nNOOP\n")
    XCTAssertEqual(refused.codes(), [220, 500, 500])
    XCTAssertEqual(refused.given, [""])

    var policy = SMTPSession.Policy()
    policy.bareLineFeed = .tolerate
    let tolerated = try Conversation(policy: policy)
    try tolerated.send("EHLO c\nNOOP\n")
    XCTAssertEqual(tolerated.codes(), [220, 250, 250])
    XCTAssertEqual(tolerated.given, ["EHLO c\r\nNOOP\r\n"])
  }

  func testWhereTLSIsRequired() throws {
    var policy = SMTPSession.Policy()
    policy.security = .required
    let talk = try Conversation(policy: policy)
    try talk.send("EHLO c\r\nMAIL FROM:<>\r\nRSET\r\nQUIT\r\n")
    XCTAssertEqual(talk.codes(), [220, 250, 530, 530, 221])
    XCTAssertEqual(talk.given, ["EHLO c\r\nQUIT\r\n"])
  }

  /// A server that cannot be replaced receives RSET. Its EHLO stays valid, so MAIL is refused before a new EHLO.
  func testResetInPlaceOfRestart() throws {
    var policy = SMTPSession.Policy()
    policy.serverReset = .rset
    let talk = try Conversation(policy: policy)
    try talk.send("EHLO c\r\nSTARTTLS\r\n")
    XCTAssertEqual(talk.codes(), [220, 250, 220])
    try talk.startTLS(sending: talk.makeHello())
    try talk.send("MAIL FROM:<a@c>\r\n")
    XCTAssertEqual(talk.codes(), [503])
    try talk.send("EHLO c\r\n" + mail + "QUIT\r\n")
    XCTAssertEqual(talk.codes(), [250, 250, 250, 354, 250, 221])
    XCTAssertEqual(talk.given, ["EHLO c\r\nRSET\r\nEHLO c\r\n" + mail + "QUIT\r\n"])
  }
}

extension Conversation {
  /// Sends octets in two pieces, or in one at the first and last cut.
  fileprivate func deliverCut(_ octets: [UInt8], at cut: Int) throws {
    for piece in [octets[..<cut], octets[cut...]] where !piece.isEmpty {
      try sendRaw(piece)
    }
    try startTLS()
  }
}
