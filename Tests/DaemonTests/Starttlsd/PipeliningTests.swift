// PipeliningTests: many commands in one segment.

import XCTest

final class PipeliningTests: StarttlsdTestCase {
  private let extensions = "250-PIPELINING|250-8BITMIME|250-SIZE 52428800|250 ENHANCEDSTATUSCODES"
  private let commands =
    "EHLO client.example\r\n" + String(repeating: "NOOP\r\n", count: 40) + String(repeating: "VRFY a\r\n", count: 40)
    + "FROBNICATE\r\nRSET\r\nMAIL FROM:<a@b>\r\n"

  func testRepliesInClearAreCompleteAndInOrder() throws {
    let daemon = try daemon()
    let client = try client(daemon)
    try client.expect("220 ")
    try client.send(commands)
    try assertReplies(
      client, "250-mx.example|250-STARTTLS|" + extensions, unknown: "502 5.5.1 Command not implemented")
    client.close()
    XCTAssertEqual(try daemon.session().outcome, "abort mail: relayed")
  }

  /// There the unknown verb ends the watching and goes to the server.
  func testRepliesInsideTLSAreCompleteAndInOrder() throws {
    let daemon = try daemon()
    let client = try client(daemon)
    try SessionPhase.secured.enter(client)
    try client.send(commands)
    try assertReplies(client, "250-mx.example|" + extensions, unknown: "500 5.5.1 Command not known")
    client.close()
    XCTAssertEqual(try daemon.session().outcome, "handoff: relayed")
  }

  /// A whole session sent before the greeting is read, up to STARTTLS.
  func testRepliesInFrontOfSTARTTLSAreComplete() throws {
    let daemon = try daemon()
    let client = try client(daemon)
    try client.send("EHLO client.example\r\n" + String(repeating: "NOOP\r\n", count: 60) + "RSET\r\nSTARTTLS\r\n")
    try client.expect("220 mx.example ")
    try client.expect("250-")
    for _ in 0..<61 { try client.expect("250 2.0.0 OK") }
    try client.expect("220 2.0.0 Ready to start TLS")
    try client.sendRaw(try client.beginTLS())
    try client.finishHandshake()
    XCTAssertEqual(try client.ask("QUIT"), "221 2.0.0 Bye")
    client.close()
    XCTAssertEqual(try daemon.session().outcome, "handoff: quit")
  }

  private func assertReplies(_ client: SMTPClient, _ hello: String, unknown: String) throws {
    var expected = [hello]
    expected += Array(repeating: "250 2.0.0 OK", count: 40)
    expected += Array(repeating: "252 2.5.0 Cannot verify, but mail to any valid address is accepted", count: 40)
    expected += [unknown, "250 2.0.0 OK", "250 2.1.0 Sender accepted"]
    XCTAssertEqual(try expected.map { _ in try client.reply() }, expected)
    XCTAssertEqual(try client.ask("QUIT"), "221 2.0.0 Bye")
    XCTAssertEqual(try client.remainder().text, "", "more replies than commands")
  }
}
