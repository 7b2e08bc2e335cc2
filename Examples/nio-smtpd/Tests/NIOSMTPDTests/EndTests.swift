// The end of the client's input and of the server, timers, and a client that does not read.

import NIOCore
import NIOEmbedded
import NIOSMTPState
import SMTPServer
import SMTPState
import XCTest

final class EndTests: XCTestCase {
  func testClientEndsAfterItsCommands() throws {
    let talk = try Conversation()
    try talk.send("EHLO c\r\nNOOP\r\nNO")
    try talk.end()
    XCTAssertEqual(talk.codes(), [220, 250, 250])
    XCTAssertEqual(talk.outcomes, [.abandoned(.clientEnded), .closed(.clientEnded)])
    XCTAssertFalse(talk.isOpen)
  }

  func testClientEndsAfterMail() throws {
    let talk = try Conversation()
    try talk.send("EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<b@mx>\r\nDATA\r\nhalf a mess")
    try talk.end()
    XCTAssertEqual(talk.codes(), [220, 250, 250, 250, 354])
    XCTAssertEqual(talk.mails, [])
    XCTAssertFalse(talk.isOpen)
  }

  /// The end arrives before the conversation relays. The handler reports it to the server.
  func testClientEndsBeforeItsMailIsTakenUp() throws {
    let talk = try Conversation()
    try talk.send("EHLO c\r\n")
    try talk.setWritable(false)
    try talk.send("MAIL FROM:<a@c>\r\nRCPT TO:<b@mx>\r\nDATA\r\nx\r\n.\r\nNO")
    try talk.end()
    try talk.setWritable(true)
    XCTAssertEqual(talk.codes(), [220, 250, 250, 250, 354, 250])
    XCTAssertEqual(talk.mails.count, 1)
    XCTAssertFalse(talk.isOpen)
  }

  func testClientEndsInTheHandshake() throws {
    let talk = try Conversation()
    try talk.send("EHLO c\r\n")
    try talk.send("STARTTLS\r\n")
    try talk.sendRaw(talk.makeHello().prefix(20))
    try talk.end()
    XCTAssertEqual(talk.outcomes, [.handedOff, .closed(.tlsFailed)])
    XCTAssertFalse(talk.isOpen)
  }

  /// The end arrives before STARTTLS is processed. The octets before it go to the TLS handler, and so does the end.
  func testClientEndsAfterItsClientHello() throws {
    for hello in [true, false] {
      let talk = try Conversation()
      try talk.send("EHLO c\r\n")
      XCTAssertEqual(talk.codes(), [220, 250])
      try talk.setWritable(false)
      try talk.sendRaw(Array("STARTTLS\r\n".utf8) + (hello ? talk.makeHello() : []))
      try talk.end()
      try talk.setWritable(true)
      XCTAssertEqual(talk.codes(), hello ? [220] : [])
      XCTAssertEqual(
        talk.outcomes,
        hello ? [.handedOff, .closed(.tlsFailed)] : [.abandoned(.clientEnded), .closed(.clientEnded)])
      XCTAssertFalse(talk.isOpen)
    }
  }

  func testClientEndsInsideTLS() throws {
    let talk = try Conversation()
    try talk.send("EHLO c\r\nSTARTTLS\r\n")
    try talk.startTLS(sending: talk.makeHello())
    try talk.send("EHLO c\r\n")
    XCTAssertEqual(talk.codes(), [220, 250, 220, 250])
    try talk.end()
    XCTAssertEqual(talk.outcomes, [.handedOff, .closed(.clientEnded)])
    // The TLS handler waits for a close_notify that never arrives.
    try talk.advance(.seconds(6))
    XCTAssertFalse(talk.isOpen)
  }

  func testConnectionIsLost() throws {
    let talk = try Conversation()
    try talk.send("EHLO c\r\n")
    talk.channel.pipeline.fireChannelInactive()
    XCTAssertEqual(talk.outcomes, [.abandoned(.clientEnded), .closed(.clientEnded)])
    try talk.advance(.hours(1))
    XCTAssertEqual(talk.outcomes.count, 2, "no timer runs after the end")
  }

  func testServerShutsDown() throws {
    let talk = try Conversation()
    try talk.send("EHLO c\r\n")
    talk.channel.pipeline.fireUserInboundEventTriggered(ShutdownEvent())
    try talk.send("NOOP\r\n")
    XCTAssertEqual(talk.codes(), [220, 250, 421])
    XCTAssertEqual(talk.outcomes, [.abandoned(.serverRefused), .closed(.serverRefused)])
    XCTAssertFalse(talk.isOpen)
  }

  func testTimers() throws {
    let silent = try Conversation()
    try silent.send("EHLO c\r\n")
    try silent.advance(.seconds(299))
    XCTAssertTrue(silent.isOpen)
    // A partial line does not start the timer again.
    try silent.send("NO")
    try silent.advance(.seconds(2))
    XCTAssertEqual(silent.codes(), [220, 250, 421])
    XCTAssertEqual(silent.outcomes.last, .closed(.commandTimeout))

    let slow = try Conversation()
    for _ in 1...5 where slow.isOpen {
      try slow.send("NOOP\r\n")
      try slow.advance(.seconds(149))
    }
    XCTAssertEqual(slow.outcomes.last, .closed(.clearPhaseTimeout))

    let handshake = try Conversation()
    try handshake.send("EHLO c\r\nSTARTTLS\r\n")
    try handshake.advance(.seconds(29))
    XCTAssertTrue(handshake.isOpen)
    try handshake.advance(.seconds(2))
    XCTAssertEqual(handshake.codes(), [220, 250, 220], "no octet in clear after the 220")
    XCTAssertEqual(handshake.outcomes, [.handedOff, .closed(.handshakeTimeout)])
  }

  /// While the channel is not writable, no octets of the client are consumed or read.
  func testBackPressure() throws {
    let talk = try Conversation()
    try talk.send("EHLO c\r\n")
    XCTAssertEqual(talk.codes(), [220, 250])
    try talk.setWritable(false)
    let reads = talk.socket.readCount
    try talk.send("NOOP\r\nNOOP\r\n")
    talk.channel.pipeline.read()
    XCTAssertEqual(talk.codes(), [])
    XCTAssertEqual(talk.socket.readCount, reads, "no read reaches the socket")
    try talk.setWritable(true)
    XCTAssertEqual(talk.codes(), [250, 250])
    XCTAssertEqual(talk.socket.readCount, reads + 1, "the deferred read reaches the socket")
  }

  /// Replies that the kernel has not accepted stop the conversation, also while the channel is writable.
  func testBackPressureOfTheOutput() throws {
    let talk = try Conversation()
    try talk.setSocketFull(true)
    let reads = talk.socket.readCount
    try talk.send(String(repeating: "EHLO c\r\n", count: 98))
    XCTAssertTrue(talk.channel.isWritable)
    XCTAssertEqual(talk.socket.readCount, reads)
    XCTAssertLessThan(talk.given[0].utf8.count, 90 * 8)
    try talk.setSocketFull(false)
    XCTAssertEqual(talk.codes(), [220] + Array(repeating: 250, count: 98))
    XCTAssertEqual(talk.socket.readCount, reads + 1)
  }
}
