// TLSFailureTests: why TLS ended a session after its handshake is in the line of the session.

import Glibc
import XCTest

final class TLSFailureTests: StarttlsdTestCase {
  /// A record that was not encrypted with the session's keys, while commands are decided on and while octets are copied.
  func testABadRecord() throws {
    for way in ["implicit", "relay", "session"] {
      let daemon = try daemon(way == "implicit" ? ["--listen-tls", "127.0.0.1:0"] : [])
      let client = way == "implicit" ? try client(host: "127.0.0.1", port: daemon.ports[1]) : try client(daemon)
      try client.enterTLS(isImplicit: way == "implicit")
      if way != "implicit" {
        try client.ask("EHLO client.example")
        if way == "relay" { try client.ask("MAIL FROM:<>") }
      }
      try client.sendRaw([0x17, 3, 3, 0, 64] + [UInt8](repeating: 7, count: 64))
      let session = try daemon.session()
      XCTAssertEqual(session["end"], "client lost", way)
      XCTAssertEqual(session["alert"], "20", way)
      XCTAssertEqual(session["failure"], "TLS reading: Decryption has failed.", way)
    }
  }
}
