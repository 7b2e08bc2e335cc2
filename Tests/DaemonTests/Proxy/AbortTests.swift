// AbortTests: STARTTLS is proven abandoned, and the helper ends, in the way that its UCSPI server expects.

import CKernel
import Foundation
import Glibc
import XCTest

final class AbortTests: ProxyTestCase {
  private func assertMailInClear(_ connection: ProxiedConnection, file: StaticString = #filePath, line: UInt = #line) throws {
    try connection.client.send("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")
    for reply in ["250 done", "250 done", "354 go on"] {
      XCTAssertEqual(try connection.client.reply(), reply, file: file, line: line)
    }
    XCTAssertEqual(try connection.client.ask("text\r\n."), "250 stored", file: file, line: line)
  }

  func testMAILEndsTheHelper() throws {
    for words in ["", "one", "two", "all"] {
      let connection = try proxied(words)
      try connection.greet()
      try assertMailInClear(connection)
      // At once, not when the session ends.
      connection.assertSeen(["declined"])
      XCTAssertEqual(try connection.client.ask("QUIT"), "221 bye")
      XCTAssertEqual(try connection.client.remainder().text, "")
      connection.client.close()
      XCTAssertEqual(connection.process.wait(), .exited(0))
      connection.assertLine("decision=abort proof=\"mail\"", "end=\"relayed\"", "peer=127.0.0.1:\(connection.client.ownPort)")
      assertNothingIsLeft()
    }
  }

  func testQUITEndsTheHelper() throws {
    let connection = try proxied()
    try connection.greet()
    XCTAssertEqual(try connection.client.ask("QUIT"), "221 bye")
    XCTAssertEqual(try connection.client.remainder().text, "")
    connection.client.close()
    connection.assertSeen(["declined"])
    connection.assertLine("decision=abort proof=\"quit\"", "end=\"quit\"")
    assertNothingIsLeft()
  }

  func testTheClientsEndEndsTheHelper() throws {
    for isReset in [false, true] {
      let connection = try proxied()
      try connection.greet()
      if isReset { connection.client.reset() } else { connection.client.close() }
      connection.assertSeen(["declined"])
      connection.assertLine("decision=abort proof=\"client ended\"")
      assertNothingIsLeft()
    }
  }

  /// ucspi-ssl takes the control socket's end for the end of its child, and kills it.
  func testUnderUCSPISSLTheServerProgramKeepsTheControlSocket() throws {
    for (words, options) in [("ssl", []), ("ssl", ["-H", "ucspi-ssl"]), ("ssl", ["--helper", "auto"])] as [(String, [String])] {
      let connection = try proxied(words, options)
      try connection.greet()
      try assertMailInClear(connection)
      try connection.askHelper()
      connection.assertSeen(["control open"])
      XCTAssertEqual(try connection.client.ask("QUIT"), "221 bye")
      XCTAssertEqual(try connection.client.remainder().text, "")
      connection.client.close()
      _ = connection.process.wait()
      connection.assertSeen(["control open", "declined"])
      connection.assertLine("proof=\"mail\"", "end=\"relayed\"", "peer=192.0.2.7:4711")
      assertNothingIsLeft()
    }
  }

  /// The same where the option names another helper: the stand-in shows what the option prevents.
  func testTheOptionForcesEitherWay() throws {
    let killed = try proxied("ssl", ["--helper", "s6"])
    try killed.greet()
    try killed.client.send("MAIL FROM:<a@b>\r\n")
    killed.assertSeen(["declined"])
    _ = try killed.client.remainder()
    killed.client.close()
    assertNothingIsLeft()

    let kept = try proxied("", ["-H", "ucspi-ssl"])
    try kept.greet()
    try assertMailInClear(kept)
    try kept.askHelper()
    kept.assertSeen(["control open"])
    kept.client.close()
    kept.assertSeen(["control open", "declined"])
    assertNothingIsLeft()
  }

  func testOurOwnChain() throws {
    let connection = try chained(helper: ["-v", "2"])
    try connection.greet()
    try assertMailInClear(connection)
    XCTAssertTrue(eventually { connection.process.errors.contains("declined opportunistic TLS") }, connection.process.errors)
    XCTAssertEqual(try connection.client.ask("QUIT"), "221 bye")
    XCTAssertEqual(try connection.client.remainder().text, "")
    connection.client.close()
    XCTAssertEqual(connection.process.wait(), .exited(0))
    assertNothingIsLeft()
  }

  /// A relay in clear delivers all of it, in both directions, and passes ends on.
  func testTheRelayIsExact() throws {
    let script = "printf '220 b\\r\\n'; read e; printf '250 b\\r\\n'; exec cat"
    let connection = try proxied(script: script)
    try connection.client.expect("220 ")
    try connection.client.ask("EHLO x")
    let octets = noise(300_000, seed: 7)
    XCTAssertTrue(try connection.client.exchange(Array("MAIL FROM:<a@b>\r\n".utf8) + octets) == Array("MAIL FROM:<a@b>\r\n".utf8) + octets)
    connection.client.close()
    connection.assertLine("end=\"relayed\"")
    assertNothingIsLeft()
  }

  /// inetd's kind of connection: descriptors 0 and 1 are not one socket. One octet is read at a time, so that nothing
  /// of the helper's is taken.
  func testPipesInPlaceOfASocket() throws {
    for words in ["", "strict"] {
      let toServer = TestDescriptor.pipe()
      let toClient = TestDescriptor.pipe()
      let notes = "\(folder.path)/pipes.\(words)"
      try folder.write(Array(StandInServer.script.utf8), to: "standin.py")
      let process = try start(
        ["/usr/bin/python3", "-IS", "\(folder.path)/standin.py", words, notes, try Programs.path("starttls-proxy"), "/bin/sh",
          "-c", ShellBackend.script()], [0: toServer.reading, 1: toClient.writing], ["FOLDER": folder.path])
      toServer.reading.close()
      toClient.writing.close()
      let secured = words == "strict"
      let middle = secured ? "STARTTLS\r\n\u{16}TLS?\r\nEHLO y\r\n" : ""
      toServer.writing.write(Array("EHLO x\r\n\(middle)MAIL FROM:<a@b>\r\nRSET\r\nQUIT\r\n".utf8))
      let text = String(decoding: try toClient.reading.remainder(), as: UTF8.self)
      let start = "220 backend ESMTP\r\n250-backend\r\n250-STARTTLS\r\n250 SIZE 1000\r\n"
      let switching = "220 2.0.0 Ready to start TLS\r\nTLS!\r\n250-backend\r\n250 SIZE 1000\r\n"
      XCTAssertEqual(text, start + (secured ? switching : "") + "250 done\r\n250 done\r\n221 bye\r\n", process.errors)
      toServer.writing.close()
      XCTAssertEqual(process.wait(), .exited(0))
      assertNothingIsLeft()
    }
  }
}
