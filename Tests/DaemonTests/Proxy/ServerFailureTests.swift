// ServerFailureTests: the server program dies, or is silent, in each phase.

import Foundation
import Glibc
import XCTest

final class ServerFailureTests: ProxyTestCase {
  func testDeathBeforeTheGreeting() throws {
    for script in ["exit 3", "printf '220-half'; exit 3"] {
      let connection = try proxied(script: script)
      XCTAssertEqual(try connection.client.remainder().text, "421 4.3.2 Mail server not available, closing connection\r\n")
      connection.client.close()
      XCTAssertEqual(connection.process.wait(), .exited(3))
      connection.assertSeen(["declined"])
      connection.assertLine("decision=abort proof=\"server ended\"")
      assertNothingIsLeft()
    }
  }

  /// No process or no socket is left for the proxy.
  func testNoProxyCanBeStarted() throws {
    for (fault, text) in [("socketpair:error=EMFILE", "socketpair: Too many open files"), ("clone,fork,vfork:error=EAGAIN", "fork: Resource temporarily unavailable")] {
      let call = String(fault.prefix { $0 != ":" })
      let connection = try proxied(wrapper: ["/usr/bin/strace", "-qq", "-o", "/dev/null", "-e", "trace=\(call)", "-e", "inject=\(fault)"])
      XCTAssertEqual(try connection.client.remainder().text, "421 4.3.2 Mail server not available, closing connection\r\n")
      connection.client.close()
      XCTAssertEqual(connection.process.wait(), .exited(111))
      XCTAssertTrue(connection.process.errors.contains("starttls-proxy: cannot start: \(text)\n"), connection.process.errors)
      connection.assertSeen(["declined"])
      assertNothingIsLeft()
    }
  }

  func testDeathWhileNegotiating() throws {
    let connection = try proxied(script: ShellBackend.script(answers: [("NOOP", "exit 3")]))
    try connection.greet()
    XCTAssertEqual(try connection.client.ask("NOOP"), "421 4.3.0 Mail server failed, closing connection")
    XCTAssertEqual(try connection.client.remainder().text, "")
    connection.client.close()
    connection.assertSeen(["declined"])
    connection.assertLine("proof=\"server ended\"")
    assertNothingIsLeft()
  }

  func testDeathAtRSET() throws {
    let connection = try proxied(script: ShellBackend.script(answers: [("RSET", "exit 3")]))
    try connection.greet()
    XCTAssertEqual(try connection.client.ask("STARTTLS"), "421 4.3.0 Mail server failed, closing connection")
    connection.client.close()
    connection.assertSeen(["declined"])
    assertNothingIsLeft()
  }

  func testRSETRefused() throws {
    let connection = try proxied(script: ShellBackend.script(answers: [("RSET", "say '451-no' '451 not now'")]))
    try connection.greet()
    XCTAssertEqual(try connection.client.ask("STARTTLS"), "454 4.3.0 TLS not available now, mail server not ready")
    XCTAssertEqual(try connection.client.ask("EHLO x"), "250-backend|250-STARTTLS|250 SIZE 1000")
    XCTAssertEqual(try connection.client.ask("MAIL FROM:<a@b>"), "250 done")
    connection.client.close()
    connection.assertSeen(["declined"])
    assertNothingIsLeft()
  }

  /// The client is the helper's by then: it ends when its handshake is over, without a word in clear or inside TLS.
  func testDeathInTheHandshake() throws {
    for words in ["", "all"] {
      let gate = try Gate(in: folder)
      let connection = try proxied(
        words, script: ShellBackend.script(answers: [("RSET", "say '250 reset'; \(gate.pass); exit")]))
      try connection.greet()
      try connection.client.send("STARTTLS\r\n")
      try connection.client.expect("220 2.0.0 ")
      gate.open()
      connection.assertLine("decision=handoff", "end=\"server ended\"")
      try connection.client.send("\u{16}TLS?\r\n")
      XCTAssertEqual(try connection.client.remainder().text, "TLS!\r\n")
      connection.client.close()
      assertNothingIsLeft()
    }
  }

  func testDeathInsideTLS() throws {
    let connection = try proxied(script: ShellBackend.script(answers: [("HELP", "exit 3")]))
    try connection.greet()
    try connection.secure()
    XCTAssertEqual(try connection.client.ask("HELP"), "421 4.3.0 Mail server failed, closing connection")
    XCTAssertEqual(try connection.client.remainder().text, "")
    connection.client.close()
    connection.assertLine("decision=handoff", "end=\"server ended\"")
    assertNothingIsLeft()
  }

  /// D1 of the known chain: what was sent is delivered before anything is closed.
  func testDeathInTheRelayLosesNothing() throws {
    let line = String(repeating: "x", count: 998)
    let script = ShellBackend.script(answers: [
      ("MAIL*", "i=0; while [ $i -lt 5000 ]; do say '250-\(line)'; i=$((i+1)); done; say '221 last'; exit 3")
    ])
    for words in ["", "one", "all"] {
      for isSecured in [false, true] {
        let connection = try proxied(words, script: script)
        try connection.greet()
        if isSecured {
          try connection.secure()
          try connection.client.ask("EHLO x")
        }
        try connection.client.send("MAIL FROM:<a@b>\r\n")
        XCTAssertTrue(connection.client.isStalling(), "more than the kernel's buffers hold")
        let text = try connection.client.remainder().text
        XCTAssertEqual(text.utf8.count, 5000 * 1004 + 10, "\(words) \(isSecured)")
        XCTAssertTrue(text.hasSuffix("221 last\r\n"))
        connection.client.close()
        connection.assertLine("end=\"relayed\"")
        assertNothingIsLeft()
      }
    }
  }

  func testTimers() throws {
    // For longer than any wait here: without the timer nothing ends.
    let waits = "exec sleep 60"
    let silent = ShellBackend.script(answers: [("NOOP", waits), ("RSET", waits)])
    for (option, script, commands, text, reason) in [
      ("--greeting-timeout", waits, "", "421 4.3.2 Mail server not available, closing connection\r\n", "greeting timeout"),
      ("-c", silent, "EHLO x\r\n", "421 4.4.2 Timed out, closing connection\r\n", "command timeout"),
      ("-r", silent, "NOOP\r\n", "421 4.4.2 Timed out, closing connection\r\n", "reply timeout"),
      ("-R", silent, "EHLO x\r\nSTARTTLS\r\n", "421 4.3.0 Mail server failed, closing connection\r\n", "reset timeout"),
      ("-C", silent, "EHLO x\r\n", "421 4.4.2 Timed out, closing connection\r\n", "clear phase timeout"),
      ("-t", silent, "EHLO x\r\nMAIL FROM:<a@b>\r\n", "250 done\r\n", "relay idle"),
    ] {
      // The reply to MAIL must not take longer than a relay may be idle.
      let connection = try proxied("", [option, option == "-t" ? "2000" : "300"], script: script)
      try connection.client.send(commands)
      let said = try connection.client.remainder().text
      XCTAssertTrue(said.hasSuffix(text), "\(option): \(said)")
      connection.client.close()
      connection.assertLine("end=\"\(reason)\"")
      connection.process.kill()
      assertNothingIsLeft()
    }
  }
}
