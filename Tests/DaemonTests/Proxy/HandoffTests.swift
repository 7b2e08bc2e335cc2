// HandoffTests: STARTTLS is given to the helper, whatever UCSPI-TLS server it belongs to.

import Foundation
import Glibc
import XCTest

final class HandoffTests: ProxyTestCase {
  /// The whole of a session inside TLS, whose octets went through the helper.
  private func assertMailInsideTLS(_ connection: ProxiedConnection, file: StaticString = #filePath, line: UInt = #line) throws {
    let client = connection.client
    try connection.greet()
    try connection.secure()
    XCTAssertEqual(try client.ask("MAIL FROM:<a@b>"), "503 5.5.1 Bad sequence of commands", file: file, line: line)
    XCTAssertEqual(try client.ask("EHLO client.example"), "250-backend|250 SIZE 1000", file: file, line: line)
    try client.send("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")
    for reply in ["250 done", "250 done", "354 go on"] { XCTAssertEqual(try client.reply(), reply, file: file, line: line) }
    XCTAssertEqual(try client.ask("text\r\n."), "250 stored", file: file, line: line)
    XCTAssertEqual(try client.ask("QUIT"), "221 bye", file: file, line: line)
    XCTAssertEqual(try client.remainder().text, "", file: file, line: line)
    client.close()
    connection.assertLine("helo=\"client.example\"", "decision=handoff", "end=\"relayed\"", file: file, line: line)
  }

  func testEveryKindOfChannel() throws {
    for words in ["strict", "strict,one", "strict,two", "strict,all"] {
      let connection = try proxied(words)
      try assertMailInsideTLS(connection)
      XCTAssertEqual(connection.process.wait(), .exited(0), words)
      connection.assertSeen(["command Y", "blocking", "relayed"])
      connection.assertLine("tls=TLSv1.3 cipher=TEST_CIPHER sni=\"mx.example\"")
      assertNothingIsLeft()
    }
  }

  func testNamesWithoutAValueAndNoNamesAtAll() throws {
    for (words, expected) in [("bare", "tls=TLSv1.3 cipher=TEST_CIPHER end="), ("none", "tls=? cipher=? end=")] {
      let connection = try proxied(words + ",strict,drip")
      try assertMailInsideTLS(connection)
      connection.assertLine(expected)
      assertNothingIsLeft()
    }
  }

  /// ucspi-ssl leaves the control socket open, and ends its child when it is closed.
  func testAControlSocketThatStaysOpen() throws {
    let connection = try proxied("ssl,keep,strict")
    try assertMailInsideTLS(connection)
    _ = connection.process.wait()
    // Whatever of the two ends the helper saw first, the control socket's came after the last octet.
    XCTAssertEqual(connection.seen.prefix(2), ["command Y", "blocking"])
    XCTAssertTrue(["relayed", "the control socket ended"].contains(connection.seen.last), "\(connection.seen)")
    connection.assertLine("peer=192.0.2.7:4711")
    assertNothingIsLeft()
  }

  func testAConnectionThatCameNonBlockingIsBlockingForTheHelper() throws {
    let connection = try proxied("strict", nonBlocking: true)
    try assertMailInsideTLS(connection)
    connection.assertSeen(["command Y", "blocking", "relayed"])
    XCTAssertTrue(connection.process.errors.contains("O_NONBLOCK is cleared"), connection.process.errors)
    assertNothingIsLeft()
  }

  func testOurOwnChain() throws {
    for version in ["2", "3"] {
      let connection = try chained(helper: ["-S"])
      let client = connection.client
      try connection.greet()
      try client.startTLS(version: version)
      XCTAssertEqual(try client.ask("STARTTLS"), "503 5.5.1 Bad sequence of commands")
      XCTAssertEqual(try client.ask("EHLO client.example"), "250-backend|250 SIZE 1000")
      try client.send("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")
      for reply in ["250 done", "250 done", "354 go on"] { XCTAssertEqual(try client.reply(), reply) }
      try client.send("text\r\n.\r\nQUIT\r\n")
      XCTAssertEqual(try client.reply(), "250 stored")
      XCTAssertEqual(try client.reply(), "221 bye")
      XCTAssertEqual(try client.remainder().end, .closeNotify)
      client.close()
      XCTAssertEqual(connection.process.wait(), .exited(0))
      connection.assertLine("decision=handoff tls=TLSv1.\(version) cipher=TLS_", "sni=\"mx.example\"", "end=\"relayed\"")
      assertNothingIsLeft()
    }
  }

  /// A server name that is no host name selects no certificate and sets no variable; the handshake continues.
  func testOurOwnChainWithAServerNameThatIsNone() throws {
    for (version, level) in [("2", "0"), ("3", "1")] {
      let connection = try chained(helper: ["-k", level, "-v", "2"])
      try connection.greet()
      try connection.client.startTLS(serverName: "mail_server", version: version)
      XCTAssertEqual(try connection.client.ask("EHLO client.example"), "250-backend|250 SIZE 1000")
      XCTAssertEqual(try connection.client.ask("QUIT"), "221 bye")
      connection.client.close()
      XCTAssertTrue(connection.process.errors.contains(", server name \"mail_server\" ignored"), connection.process.errors)
      connection.assertLine("decision=handoff tls=TLSv1.\(version) cipher=TLS_")
      XCTAssertFalse(connection.line().contains("sni="), connection.line())
      assertNothingIsLeft()
    }
  }

  /// Nothing after the 220 comes from the proxy or the server program: the client's octets are the helper's.
  func testAnEagerClientHelloIsLeftToTheHelper() throws {
    let connection = try proxied("strict")
    try connection.greet()
    try connection.client.send("STARTTLS\r\n\u{16}TLS?\r\n")
    try connection.client.expect("220 2.0.0 ")
    try connection.client.expect("TLS!")
    XCTAssertEqual(try connection.client.ask("EHLO client.example"), "250-backend|250 SIZE 1000")
    connection.client.close()
    connection.assertSeen(["command Y", "blocking", "relayed"])
    assertNothingIsLeft()
  }

  /// It is refused before RSET is sent.
  func testPlainTextAfterSTARTTLSNeverReachesTheHelper() throws {
    let script = ShellBackend.script(answers: [("RSET*", ": >\"$FOLDER/reset\"; say '250 reset'")])
    let connection = try proxied("strict", script: script)
    try connection.greet()
    try connection.client.send("STARTTLS\r\nNOOP\r\n")
    XCTAssertEqual(try connection.client.remainder().text, "554 5.5.0 Octets after STARTTLS not accepted, closing connection\r\n")
    connection.client.close()
    connection.assertSeen(["declined"])
    connection.assertLine("decision=abort proof=\"injected plaintext\"", "end=\"injected plaintext\"")
    assertNothingIsLeft()
    XCTAssertNotEqual(access(folder.path + "/reset", F_OK), 0, "the server was sent RSET")
  }

  /// The answer to RSET decides when the client is looked at: what comes while it is awaited is seen.
  func testPlainTextThatComesWhileRSETIsAwaited() throws {
    let gate = try Gate(in: folder)
    let script = ShellBackend.script(answers: [("RSET*", "\(gate.pass); say '250 reset'")])
    let connection = try proxied("strict", script: script)
    try connection.greet()
    try connection.client.send("STARTTLS\r\n")
    XCTAssertTrue(gate.isReached())
    try connection.client.send("EHLO evil\r\n")
    XCTAssertTrue(connection.client.isUnread("EHLO evil\r\n".utf8.count), "it has come and is not read")
    gate.open()
    // Had there been a reply before that to RSET, it would stand here first.
    XCTAssertEqual(try connection.client.remainder().text, "554 5.5.0 Octets after STARTTLS not accepted, closing connection\r\n")
    connection.client.close()
    connection.assertSeen(["declined"])
    assertNothingIsLeft()
  }
}
