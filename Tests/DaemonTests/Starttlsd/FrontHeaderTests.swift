// FrontHeaderTests: how a front's PROXY header arrives.

import CKernel
import Glibc
import XCTest

final class FrontHeaderTests: StarttlsdTestCase {
  private static let header = "PROXY TCP4 192.0.2.7 192.0.2.25 4711 25\r\n"

  private func check(_ send: (SMTPClient) throws -> Void) throws {
    let daemon = try daemon(["--proxy-from", "127.0.0.1/32"], backend: .script(ShellBackend.script(answers: [("QUIT", "say '221 bye'; exit")])))
    let client = try client(daemon)
    try send(client)
    try client.expect("220 ")
    XCTAssertEqual(try client.ask("QUIT"), "221 bye")
    client.close()
    XCTAssertEqual(try daemon.session()["peer"], "192.0.2.7:4711")
  }

  func testAHeaderInSingleOctets() throws {
    try check { client in
      for octet in FrontHeaderTests.header.utf8 {
        try client.sendRaw([octet])
        usleep(1_000)
      }
    }
  }

  /// The kernel shows no octet after the mark of an urgent one while those before it are not taken.
  func testAnUrgentOctetWithinAHeader() throws {
    try check { client in
      try client.send(String(FrontHeaderTests.header.prefix(20)))
      var urgent = UInt8(ascii: "!")
      XCTAssertEqual(Glibc.send(client.socket, &urgent, 1, CInt(MSG_OOB)), 1)
      try client.send(String(FrontHeaderTests.header.dropFirst(20)))
    }
  }
}
