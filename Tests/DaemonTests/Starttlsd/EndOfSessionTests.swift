// EndOfSessionTests: how a session inside TLS ends, and what an end without close_notify leads to.

import CKernel
import Foundation
import Glibc
import XCTest

final class EndOfSessionTests: StarttlsdTestCase {
  /// After STARTTLS, and with TLS from the start.
  private func clientOfEachKind(_ backend: RunningDaemon.Backend, _ body: (RunningDaemon, SMTPClient) throws -> Void) throws {
    for isImplicit in [false, true] {
      let daemon = try daemon(isImplicit ? ["--listen-tls", "127.0.0.1:0"] : [], backend: backend)
      let client = try client(host: "127.0.0.1", port: daemon.ports.last ?? 0)
      if isImplicit {
        try client.sendRaw(try client.beginTLS())
        try client.finishHandshake()
        try client.expect("220 ")
      } else {
        try SessionPhase.secured.enter(client)
      }
      try client.ask("EHLO client.example")
      try body(daemon, client)
      client.close()
    }
  }

  private func beginMessage(_ client: SMTPClient) throws {
    for (command, beginning) in [("MAIL FROM:<a@client.example>", "250 "), ("RCPT TO:<b@mx.example>", "250 "), ("DATA", "354 ")] {
      let reply = try client.ask(command)
      XCTAssertTrue(reply.hasPrefix(beginning), reply)
    }
    try client.send("Subject: half a message\r\n\r\nThe next line is cut off.\r\nHalf a li")
  }

  /// An attacker can end a connection at any octet. A message is complete only with its last dot.
  func testAMessageThatIsCutOffIsNotDelivered() throws {
    try clientOfEachKind(.maildir) { daemon, client in
      try beginMessage(client)
      shutdown(client.socket, CInt(SHUT_WR))
      _ = try client.remainder()
      let session = try daemon.session()
      XCTAssertEqual(session["truncated"], "before the server's end", session.description)
      daemon.assertNothingIsDelivered()
    }
  }

  /// A proper end does not make half a message a message either.
  func testAMessageThatIsCutOffWithCloseNotifyIsNotDelivered() throws {
    try clientOfEachKind(.maildir) { daemon, client in
      try beginMessage(client)
      try client.endSending()
      _ = try client.remainder()
      XCTAssertNil(try daemon.session()["truncated"])
      daemon.assertNothingIsDelivered()
    }
  }

  /// Half of a record is nothing.
  func testARecordThatIsCutOffIsNotDelivered() throws {
    try clientOfEachKind(.maildir) { daemon, client in
      try beginMessage(client)
      let end = try client.enciphered("ne.\r\n.\r\n")
      try client.sendRaw(Array(end.dropLast()))
      shutdown(client.socket, CInt(SHUT_WR))
      _ = try client.remainder()
      XCTAssertEqual(try daemon.session()["truncated"], "before the server's end")
      daemon.assertNothingIsDelivered()
    }
  }

  /// Many clients do not send close_notify after QUIT. Nothing is missing then, and the line says so.
  func testAnEndWithoutCloseNotifyAfterQUIT() throws {
    for isNotifying in [true, false] {
      try clientOfEachKind(.maildir) { daemon, client in
        try client.send("QUIT\r\n")
        let rest = try client.remainder()
        XCTAssertEqual(rest.text, "221 2.0.0 Bye\r\n")
        XCTAssertEqual(rest.end, .closeNotify)
        if isNotifying { try client.endSending() } else { shutdown(client.socket, CInt(SHUT_WR)) }
        let session = try daemon.session()
        XCTAssertEqual(session["truncated"], isNotifying ? nil : "after the server's end", session.description)
      }
    }
  }

  /// The client ends its half with close_notify; all replies still come.
  func testTheClientsHalfCloseIsPassedOn() throws {
    let script = ShellBackend.script(answers: [("MAIL*", "say '250 done'; cat >\"$FOLDER/input\"; say '250 after the end'; exit")])
    try clientOfEachKind(.script(script)) { daemon, client in
      XCTAssertEqual(try client.ask("MAIL FROM:<a@b>"), "250 done")
      try client.send("more\r\n")
      try client.endSending()
      let rest = try client.remainder()
      XCTAssertEqual(rest.text, "250 after the end\r\n")
      XCTAssertEqual(rest.end, .closeNotify)
      XCTAssertEqual(daemon.folder.text("input"), "more\r\n")
      XCTAssertNil(try daemon.session()["truncated"])
    }
  }

  /// Octets after a close_notify, in clear or in records, reach nobody, and nothing is sent after ours.
  func testOctetsAfterTheEndReachNobody() throws {
    let script = ShellBackend.script(answers: [("MAIL*", "say '250 done'; cat >\"$FOLDER/input\"; say '250 after the end'; exit")])
    for isInClear in [true, false] {
      try clientOfEachKind(.script(script)) { daemon, client in
        XCTAssertEqual(try client.ask("MAIL FROM:<a@b>"), "250 done")
        // The engine enciphers nothing after its end: a record that cannot be deciphered stands for one.
        let late = isInClear ? Array("in clear\r\n".utf8) : [0x17, 3, 3, 0, 32] + [UInt8](repeating: 7, count: 32)
        try client.sendRaw(try client.closeNotify())
        try client.sendRaw(late)
        let raw = try client.rawRemainder()
        assertOnlyRecords(raw)
        XCTAssertEqual(daemon.folder.text("input"), "")
        client.close()
        _ = try daemon.session()
      }
    }
  }
}
