// KnownMistakesTests: what proxies of this kind got wrong, each as what is right. The numbers are those of the list of
// mistakes measured in the known chain.

import CKernel
import Foundation
import Glibc
import XCTest

final class KnownMistakesTests: ProxyTestCase {
  private let ehlo = "250-backend|250-STARTTLS|250 SIZE 1000"

  private func end(_ connection: ProxiedConnection, file: StaticString = #filePath, line: UInt = #line) {
    connection.client.close()
    assertNothingIsLeft(file: file, line: line)
  }

  /// D2
  func testACommandAfterAPendingReplyIsProcessedAfterThatReply() throws {
    func slow() throws -> (gate: Gate, connection: ProxiedConnection) {
      let gate = try Gate(in: folder)
      return (gate, try proxied(script: ShellBackend.script(answers: [("RSET", "\(gate.pass); say '250 reset'")])))
    }
    // What is sent in RSET's segment has come before the gate is reached.
    let (first, one) = try slow()
    try one.greet()
    try one.client.send("RSET\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n")
    XCTAssertTrue(first.isReached())
    first.open()
    for reply in ["250 reset", "250 done", "250 done"] { XCTAssertEqual(try one.client.reply(), reply) }
    end(one)
    let (second, two) = try slow()
    try two.greet()
    try two.client.send("RSET\r\n")
    XCTAssertTrue(second.isReached())
    try two.client.send("MAIL FROM:<a@b>\r\n")
    XCTAssertTrue(two.client.isUnread(0), "MAIL is read while the reply to RSET is pending")
    second.open()
    for reply in ["250 reset", "250 done"] { XCTAssertEqual(try two.client.reply(), reply) }
    end(two)
    let (third, helo) = try slow()
    try helo.client.expect("220 ")
    try helo.client.send("RSET\r\nHELO x\r\nQUIT\r\n")
    XCTAssertTrue(third.isReached())
    third.open()
    for reply in ["250 reset", "250 done", "221 bye"] { XCTAssertEqual(try helo.client.reply(), reply) }
    end(helo)
  }

  /// D3
  func testAClientThatGoesWhileAReplyIsPendingLeavesNoProcess() throws {
    let gate = try Gate(in: folder)
    let slow = ShellBackend.script(answers: [("RSET", "\(gate.pass); say '250 reset'")])
    let connections = try (0..<10).map { _ in try proxied(script: slow) }
    for connection in connections {
      try connection.greet()
      try connection.client.send("RSET\r\nMAIL FROM:<a@b>\r\n")
      connection.client.close()
    }
    for _ in connections { gate.open() }
    assertNothingIsLeft()
    for connection in connections { XCTAssertNotNil(connection.process.wait()) }
  }

  /// D4
  func testRepliesMayHaveSeveralLines() throws {
    let script = ShellBackend.script(
      "say '220-one' '220 two'",
      answers: [("HELP", "say '214-a' '214-b' '214 c'"), ("VRFY*", "say '252-a' '252 b'"), ("RSET", "say '250-a' '250 b'")])
    let connection = try proxied(script: script)
    let client = connection.client
    XCTAssertEqual(try client.reply(), "220-one|220 two")
    XCTAssertEqual(try client.ask("EHLO x"), ehlo)
    XCTAssertEqual(try client.ask("HELP"), "214-a|214-b|214 c")
    XCTAssertEqual(try client.ask("VRFY x"), "252-a|252 b")
    XCTAssertEqual(try client.ask("RSET"), "250-a|250 b")
    try connection.secure()
    XCTAssertEqual(try client.ask("HELP"), "214-a|214-b|214 c")
    end(connection)
  }

  /// D5
  func testALineWithNULIsRefusedWhole() throws {
    let record = "while IFS= read -r line; do printf '%s\\n' \"$line\" >>\"$FOLDER/received\"; case $line in EHLO*) say '250 b' ;; *) say '250 ok' ;; esac; done"
    let connection = try proxied(script: ShellBackend.script("say '220 b'; \(record)"))
    try connection.client.expect("220 ")
    try connection.client.ask("EHLO x")
    try connection.client.send("VRFY injected\0rest\r\n")
    XCTAssertEqual(try connection.client.reply(), "500 5.5.2 Syntax error, line not accepted")
    try connection.secure()
    XCTAssertEqual(try connection.client.ask("EHLO inside"), "250 b")
    end(connection)
    XCTAssertEqual(folder.text("received"), "EHLO x\r\nRSET\r\nEHLO inside\r\n")
  }

  /// D6
  func testSTARTTLSAtTheEndOfABufferHidesNothing() throws {
    for boundary in [511, 1023, 1024, 2046, 2047, 2048, 4095, 4096, 16_384] {
      let connection = try proxied()
      try connection.client.expect("220 ")
      var text = "EHLO x\r\n"
      // NOOPs of chosen lengths, so that the STARTTLS line ends exactly at the boundary.
      while case let rest = boundary - text.utf8.count - "STARTTLS\r\n".utf8.count, rest > 0 {
        let length = rest > 2000 ? 1000 : rest
        text += "NOOP " + String(repeating: "x", count: length - 7) + "\r\n"
      }
      try connection.client.send(text + "STARTTLS\r\nNOOP injected\r\nMAIL FROM:<a@b>\r\n")
      let said = try connection.client.remainder().text
      XCTAssertTrue(said.hasSuffix("554 5.5.0 Octets after STARTTLS not accepted, closing connection\r\n"), "\(boundary): \(said.suffix(200))")
      XCTAssertFalse(said.contains("220 2.0.0"), "\(boundary)")
      connection.client.close()
      connection.assertSeen(["declined"])
      assertNothingIsLeft()
    }
  }

  /// D7, D8, D13, D18
  func testTheRewrittenReplyToEHLO() throws {
    for (reply, expected) in [
      ("say '250 only.example'", "250-only.example|250 STARTTLS"), ("say '502 no'", "502 no"), ("say '550-no' '550 no'", "550-no|550 no"),
      ("say '250-starttls.example' '250-STARTTLSX' '250 SIZE'", "250-starttls.example|250-STARTTLS|250-STARTTLSX|250 SIZE"),
      ("say '250 starttls'", "250-starttls|250 STARTTLS"), ("say 250", "250-|250 STARTTLS"),
      ("say '250-b' '250-STARTTLS' '250 STARTTLS'", "250-b|250 STARTTLS"),
      ("say '250-b' '250-AUTH PLAIN' '250-AUTH=PLAIN' '250-XCLIENT A' '250 REQUIRETLS'", "250-b|250 STARTTLS"),
    ] {
      let connection = try proxied(script: ShellBackend.script(answers: [("EHLO*", reply)]))
      try connection.client.expect("220 ")
      XCTAssertEqual(try connection.client.ask("EHLO x"), expected, reply)
      end(connection)
    }
  }

  /// D9
  func testOurOwnRepliesWaitForTheirTurn() throws {
    let (greeting, reset) = (try Gate(in: folder), try Gate(in: folder))
    let slow = ShellBackend.script("\(greeting.pass); say '220 late'", answers: [("RSET", "\(reset.pass); say '250 reset'")])
    let connection = try proxied(script: slow)
    try connection.client.send("FOO\r\nRSET\r\nRCPT TO:<a>\r\nBAR\r\nNOOP\r\nDATA\r\n")
    for gate in [greeting, reset] {
      XCTAssertTrue(gate.isReached())
      gate.open()
    }
    for reply in [
      "220 late", "502 5.5.1 Command not implemented", "250 reset", "503 5.5.1 Bad sequence of commands",
      "502 5.5.1 Command not implemented", "250 done", "503 5.5.1 Bad sequence of commands",
    ] { XCTAssertEqual(try connection.client.reply(), reply) }
    end(connection)
  }

  /// D10
  func testAnyNumberOfPendingCommands() throws {
    for options in [[], ["-o", "1"], ["-o", "5"]] {
      let connection = try proxied("", options)
      try connection.greet()
      try connection.client.send(String(repeating: "RSET\r\n", count: 90) + "QUIT\r\n")
      for _ in 0..<90 { XCTAssertEqual(try connection.client.reply(), "250 done") }
      XCTAssertEqual(try connection.client.reply(), "221 bye")
      end(connection)
    }
  }

  /// D11, D12
  func testNothingOfTheClearPhaseSurvives() throws {
    let native = ShellBackend.script(answers: [("EHLO*", "say '250-b' '250-STARTTLS' '250 X'"), ("STARTTLS", "say '220 native'")])
    let connection = try proxied(script: native)
    let client = connection.client
    try client.expect("220 ")
    XCTAssertEqual(try client.ask("EHLO clear.example"), "250-b|250-STARTTLS|250 X")
    try connection.secure()
    for command in ["MAIL FROM:<a@b>", "RCPT TO:<a@b>", "DATA", "STARTTLS"] {
      XCTAssertEqual(try client.ask(command), "503 5.5.1 Bad sequence of commands", command)
    }
    XCTAssertEqual(try client.ask("EHLO inside.example"), "250-b|250 X")
    XCTAssertEqual(try client.ask("STARTTLS"), "503 5.5.1 Bad sequence of commands")
    XCTAssertEqual(try client.ask("MAIL FROM:<a@b>"), "250 done")
    end(connection)
  }

  /// D14
  func testALongLineIsForwardedOrAnswered() throws {
    let connection = try proxied()
    try connection.greet()
    for count in [1017, 1018, 1019, 2041] {
      XCTAssertEqual(try connection.client.ask("NOOP " + String(repeating: "x", count: count)), "250 done", "\(count)")
    }
    for count in [2042, 5000, 100_000] {
      let reply = try connection.client.ask("NOOP " + String(repeating: "x", count: count))
      XCTAssertEqual(reply, "500 5.5.2 Syntax error, line not accepted", "\(count)")
    }
    XCTAssertEqual(try connection.client.ask("MAIL FROM:<a@b> " + String(repeating: "X", count: 1500)), "250 done")
    end(connection)
  }

  /// D15
  func testEverythingIsAnsweredBeforeTheEnd() throws {
    let connection = try proxied()
    try connection.client.send("EHLO x\r\nQUIT\r\n")
    shutdown(connection.client.socket, CInt(SHUT_WR))
    XCTAssertEqual(
      try connection.client.remainder().text, "220 backend ESMTP\r\n250-backend\r\n250-STARTTLS\r\n250 SIZE 1000\r\n221 bye\r\n")
    end(connection)
  }

  /// D16
  func testAnUnaskedRefusalIsPassedOn() throws {
    let gate = try Gate(in: folder)
    let connection = try proxied(
      script: ShellBackend.script("say '220 b'; read x; say '250 b'; \(gate.pass); say '421-going' '421 down'; exec sleep 60"))
    try connection.client.expect("220 ")
    try connection.client.ask("EHLO x")
    gate.open()
    XCTAssertEqual(try connection.client.remainder().text, "421-going\r\n421 down\r\n")
    connection.assertSeen(["declined"])
    connection.client.close()
    connection.process.kill()
    assertNothingIsLeft()
  }

  /// D18, D20
  func testServerLinesThatAreNoSMTP() throws {
    for line in ["printf '250 a\\0b\\r\\n'", "printf 'hello\\r\\n'", "printf '999 x\\r\\n'", "printf '250-a\\r\\n550 b\\r\\n'"] {
      let connection = try proxied(script: ShellBackend.script(answers: [("NOOP", line)]))
      try connection.greet()
      try connection.client.send("NOOP\r\n")
      let said = try connection.client.remainder().text
      // Between the lines of a reply that was passed on there is no text.
      let isBegun = line.contains("550")
      XCTAssertEqual(said, isBegun ? "250-a\r\n" : "421 4.3.0 Mail server failed, closing connection\r\n", line)
      connection.client.close()
      connection.assertLine("end=\"server garbage\"")
      assertNothingIsLeft()
    }
    let bare = try proxied(script: ShellBackend.script("say 220", answers: [("NOOP", "say 250")]))
    try bare.client.expect("220")
    XCTAssertEqual(try bare.client.ask("NOOP"), "250")
    end(bare)
  }

  /// D19
  func testAUTHInClear() throws {
    let script = ShellBackend.script(answers: [("EHLO*", "say '250-b' '250 AUTH PLAIN'"), ("AUTH*", "say '235 welcome'")])
    let strict = try proxied(script: script)
    try strict.client.expect("220 ")
    XCTAssertEqual(try strict.client.ask("EHLO x"), "250-b|250 STARTTLS")
    XCTAssertEqual(try strict.client.ask("AUTH PLAIN AGEAYg=="), "538 5.7.11 Encryption required for authentication")
    try strict.secure()
    XCTAssertEqual(try strict.client.ask("EHLO x"), "250-b|250 AUTH PLAIN")
    XCTAssertEqual(try strict.client.ask("AUTH PLAIN AGEAYg=="), "235 welcome")
    end(strict)
    XCTAssertFalse(strict.process.errors.contains("AGEAYg"), "AUTH is never logged")
    let lax = try proxied("", ["-a"], script: script)
    try lax.client.expect("220 ")
    XCTAssertEqual(try lax.client.ask("EHLO x"), "250-b|250-STARTTLS|250 AUTH PLAIN")
    XCTAssertEqual(try lax.client.ask("AUTH PLAIN AGEAYg=="), "235 welcome")
    XCTAssertEqual(try lax.client.ask("STARTTLS"), "503 5.5.1 Bad sequence of commands")
    end(lax)
  }

  /// A 40 ms delay of the second half of a reply would make each round of twenty replies last 800 ms. On a busy machine one
  /// round may last as long without it.
  func testRepliesAreSentAtOnce() throws {
    let connection = try proxied(script: ShellBackend.script(answers: [("NOOP", "printf '250-'; printf 'a\\r\\n'; printf '250 b\\r\\n'")]))
    try connection.greet()
    XCTAssertTrue(
      try eventually {
        let start = Date()
        for _ in 0..<20 { XCTAssertEqual(try connection.client.ask("NOOP"), "250-a|250 b") }
        return Date().timeIntervalSince(start) < 0.5
      }, "each round of replies takes longer than half a second")
    end(connection)
  }
}
