// HelperFailureTests: a helper that fails or dies, at every point of the dialogue. Before the 220 the session goes on in
// clear; after it the client gets TLS or the end.

import Foundation
import Glibc
import XCTest

final class HelperFailureTests: ProxyTestCase {
  func testAHelperThatIsGoneBeforeTheCommand() throws {
    for words in ["before", "chatty"] {
      let gate = try Gate(in: folder)
      let connection = try proxied(words, script: ShellBackend.script("\(gate.pass); say '220 backend ESMTP'"))
      let helper = try connection.helper()
      // One that has ended has no command line, whether or not it has been reaped.
      if words == "before" { XCTAssertTrue(eventually { ProcessTable.commandLine(of: helper).isEmpty }) }
      gate.open()
      try connection.client.expect("220 ")
      XCTAssertEqual(try connection.client.ask("EHLO x"), "250-backend|250 SIZE 1000", "STARTTLS is listed: \(words)")
      XCTAssertEqual(try connection.client.ask("STARTTLS"), "454 4.7.0 TLS not available due to temporary reason")
      XCTAssertEqual(try connection.client.ask("MAIL FROM:<a@b>"), "250 done")
      XCTAssertEqual(try connection.client.ask("QUIT"), "221 bye")
      connection.client.close()
      XCTAssertTrue(connection.process.errors.contains("the TLS helper is gone"), connection.process.errors)
      connection.assertLine("proof=\"mail\"")
      assertNothingIsLeft()
    }
  }

  /// Our own helper goes when it finds no certificate.
  func testNoCertificate() throws {
    let gate = try Gate(in: folder)
    let connection = try chained(script: ShellBackend.script("\(gate.pass); say '220 backend ESMTP'"), environment: [:])
    // The helper was started before the server program.
    XCTAssertTrue(gate.isReached())
    XCTAssertTrue(
      eventually {
        !ProcessTable.processes(with: marker).contains {
          let program = ProcessTable.commandLine(of: $0).prefix { $0 != " " }
          return program.hasSuffix("/ucspi-tlsd") || program.hasSuffix("tlsd-io")
        }
      })
    gate.open()
    try connection.client.expect("220 ")
    XCTAssertEqual(try connection.client.ask("EHLO x"), "250-backend|250 SIZE 1000")
    XCTAssertEqual(try connection.client.ask("STARTTLS"), "454 4.7.0 TLS not available due to temporary reason")
    connection.client.close()
    assertNothingIsLeft()
  }

  func testAHelperThatDiesAfterTheCommand() throws {
    for (words, isHelloSent) in [("asked", false), ("during", true), ("odd", true), ("huge", true), ("refuse", true)] {
      for shape in ["", ",one", ",all", ",ssl"] {
        let connection = try proxied(words + shape)
        try connection.greet()
        try connection.client.send("STARTTLS\r\n")
        try connection.client.expect("220 2.0.0 ")
        if isHelloSent { try connection.client.send("\u{16}TLS?\r\n") }
        let said = isHelloSent ? (words == "refuse" ? "ALERT\r\n" : "TLS!\r\n") : ""
        XCTAssertEqual(try connection.client.remainder().text, said, "not one octet of the proxy's: \(words)\(shape)")
        connection.client.close()
        // Under ucspi-ssl the helper kills the server program, whose end may be seen first.
        if shape != ",ssl" { connection.assertLine("decision=handoff", "end=\"tls failed\"", "failure=\"the TLS helper") }
        assertNothingIsLeft()
      }
    }
  }

  func testAHelperThatDiesAfterItsReport() throws {
    for shape in ["", ",two"] {
      let connection = try proxied("after" + shape)
      try connection.greet()
      try connection.secure()
      XCTAssertEqual(try connection.client.remainder().text, "")
      connection.client.close()
      connection.assertLine("decision=handoff tls=TLSv1.3")
      assertNothingIsLeft()
    }
  }

  func testAHelperThatNeverReports() throws {
    let connection = try proxied("silent", ["-K", "1"])
    try connection.greet()
    let start = Date()
    try connection.secure()
    XCTAssertEqual(try connection.client.remainder().text, "", "after the 220 there is TLS or the end")
    XCTAssertGreaterThan(Date().timeIntervalSince(start), 4.9, "the report may come 5 s after the handshake's limit")
    connection.client.close()
    connection.assertLine("decision=handoff", "end=\"handshake timeout\"")
    assertNothingIsLeft()
  }

  func testARealHandshakeThatFails() throws {
    let connection = try chained(helper: ["-v", "0"])
    try connection.greet()
    try connection.client.send("STARTTLS\r\n")
    try connection.client.expect("220 2.0.0 ")
    try connection.client.send("EHLO evil\r\nMAIL FROM:<a@b>\r\n")
    let answer = try connection.client.rawRemainder()
    XCTAssertEqual(answer.first, 0x15, "a TLS alert and no text")
    connection.client.close()
    connection.assertLine("decision=handoff", "end=\"tls failed\"", "in=")
    XCTAssertEqual(connection.process.wait(), .exited(0))
    assertNothingIsLeft()
  }
}
