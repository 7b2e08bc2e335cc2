// LargeClientHelloChainTests: the same through ucspi-tlsd, starttls-proxy and tlsd-io, whose proxy looks at the octets
// after STARTTLS without taking them.

import XCTest

final class LargeClientHelloChainTests: ProxyTestCase {
  func testItArrivesInPieces() throws {
    for way in ClientHelloPieces.allCases {
      for (version, name) in [("L", "TLSv1.3"), ("l", "TLSv1.2")] {
        let connection = try chained(helper: ["-S"])
        try connection.greet()
        try connection.client.startTLS(way, version: version)
        XCTAssertEqual(try connection.client.ask("EHLO client.example"), "250-backend|250 SIZE 1000", "\(way) \(name)")
        XCTAssertEqual(try connection.client.ask("QUIT"), "221 bye")
        connection.client.close()
        connection.assertLine("decision=handoff tls=\(name)")
        assertNothingIsLeft()
      }
    }
  }

  func testItsStartComesWithSTARTTLS() throws {
    for count in [1, 5, 1400] {
      let connection = try chained(helper: ["-S"])
      let client = connection.client
      try connection.greet()
      let hello = try client.beginTLS(version: "L")
      try client.sendRaw(Array("STARTTLS\r\n".utf8) + hello[..<count])
      XCTAssertTrue(try client.receiveRaw().starts(with: Array("220 2.0.0 ".utf8)), "\(count)")
      try client.sendRaw(Array(hello[count...]))
      try client.finishHandshake()
      XCTAssertEqual(try client.ask("QUIT"), "221 bye")
      client.close()
      connection.assertLine("decision=handoff tls=TLSv1.3")
      assertNothingIsLeft()
    }
  }
}
