// LargeClientHelloTests: a ClientHello that is larger than a TCP segment, as post-quantum keys or many protocol names make it,
// and one that is divided into records.

import XCTest

/// The ways in which a ClientHello of one record may arrive.
enum ClientHelloPieces: CaseIterable {
  /// Two segments, the second after the first was read.
  case segments
  /// Two records in one segment.
  case records
  /// Each octet of the header, and both records, in segments of their own.
  case recordsInSegments

  /// Pieces to send one after the other.
  func pieces(of hello: [UInt8]) -> [[UInt8]] {
    let contents = Array(hello.dropFirst(5))
    func record(_ part: ArraySlice<UInt8>) -> [UInt8] {
      Array(hello[..<3]) + [UInt8(part.count >> 8), UInt8(part.count & 255)] + part
    }
    let records = [record(contents[..<3]), record(contents[3...])]
    switch self {
    case .segments: return [Array(hello[..<1400]), Array(hello[1400...])]
    case .records: return [records[0] + records[1]]
    case .recordsInSegments: return records[0].map { [$0] } + [records[1]]
    }
  }
}

extension SMTPClient {
  /// Sends the ClientHello in pieces, each after the one before it was read, and completes the handshake.
  ///
  /// - Parameter version: `L` for a large ClientHello of TLS 1.3 alone, `l` for one of TLS 1.2 alone.
  func startTLS(_ way: ClientHelloPieces, version: String) throws {
    try send("STARTTLS\r\n")
    try expect("220 2.0.0 ")
    try beginTLS(way, version: version)
  }

  /// The same without STARTTLS.
  ///
  /// - Parameter header: what comes before it, in the same segment as the first piece.
  func beginTLS(_ way: ClientHelloPieces, version: String = "L", after header: String = "") throws {
    let hello = try beginTLS(version: version)
    guard hello.count > 2000 else { throw Failure("a ClientHello of \(hello.count) octets only") }
    var pieces = way.pieces(of: hello)
    pieces[0] = Array(header.utf8) + pieces[0]
    for piece in pieces {
      try sendRaw(piece)
      guard isUnread(0) else { throw Failure("the ClientHello is not read") }
    }
    try finishHandshake()
  }
}

final class LargeClientHelloTests: StarttlsdTestCase {
  func testItArrivesInPieces() throws {
    let daemon = try daemon()
    for (index, way) in ClientHelloPieces.allCases.enumerated() {
      for (place, version, name) in [(2 * index, "L", "TLSv1.3"), (2 * index + 1, "l", "TLSv1.2")] {
        let client = try client(daemon)
        try SessionPhase.negotiating.enter(client)
        try client.startTLS(way, version: version)
        XCTAssertTrue(try client.ask("EHLO client.example").hasPrefix("250-"), "\(way) \(name)")
        XCTAssertTrue(try client.ask("QUIT").hasPrefix("221"))
        client.close()
        XCTAssertEqual(try daemon.sessions(place + 1)[place]["tls"], name, "\(way)")
      }
    }
  }

  private let header = "PROXY TCP4 192.0.2.7 127.0.0.1 4000 25\r\n"

  /// After a PROXY header in a segment of its own.
  func testItArrivesInPiecesFromAFront() throws {
    let daemon = try daemon(["--proxy-from", "127.0.0.1/32"])
    for (index, way) in ClientHelloPieces.allCases.enumerated() {
      let client = try client(daemon)
      try client.sendRaw(Array(header.utf8))
      try SessionPhase.negotiating.enter(client)
      try client.startTLS(way, version: "L")
      XCTAssertTrue(try client.ask("QUIT").hasPrefix("221"), "\(way)")
      client.close()
      let session = try daemon.sessions(index + 1)[index]
      XCTAssertEqual(session["tls"], "TLSv1.3", "\(way)")
      XCTAssertEqual(session["peer"]?.hasPrefix("192.0.2.7"), true, "\(session)")
    }
  }

  /// With TLS from the start the first piece comes at once, or in the segment of the PROXY header.
  func testItArrivesInPiecesWithTLSFromTheStart() throws {
    for header in ["", header] {
      let daemon = try daemon(["--listen-tls", "127.0.0.1:0"] + (header.isEmpty ? [] : ["--proxy-from", "127.0.0.1/32"]))
      for (index, way) in ClientHelloPieces.allCases.enumerated() {
        let client = try client(host: "127.0.0.1", port: daemon.ports[1])
        try client.beginTLS(way, after: header)
        try client.expect("220 ")
        XCTAssertTrue(try client.ask("QUIT").hasPrefix("221"), "\(way)")
        client.close()
        let session = try daemon.sessions(index + 1)[index]
        XCTAssertEqual(session["tls"], "TLSv1.3", "\(way)")
        XCTAssertEqual(session.outcome, "implicit: relayed", "\(way)")
      }
    }
  }

  /// The start of it comes in the segment of STARTTLS, before the 220: it is not read with the command.
  func testItsStartComesWithSTARTTLS() throws {
    let daemon = try daemon()
    for count in [1, 5, 1400] {
      let client = try client(daemon)
      try SessionPhase.negotiating.enter(client)
      let hello = try client.beginTLS(version: "L")
      try client.sendRaw(Array("STARTTLS\r\n".utf8) + hello[..<count])
      let answer = try client.receiveRaw()
      XCTAssertTrue(answer.starts(with: Array("220 2.0.0 ".utf8)), "\(count)")
      try client.sendRaw(Array(hello[count...]))
      try client.finishHandshake()
      XCTAssertTrue(try client.ask("QUIT").hasPrefix("221"))
      client.close()
    }
    XCTAssertEqual(try daemon.sessions(3).map { $0["end"] }, ["quit", "quit", "quit"])
  }
}
