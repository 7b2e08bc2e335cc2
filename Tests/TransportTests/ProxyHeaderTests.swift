// ProxyHeaderTests: PROXY headers, read at every cut and written.

import PropertyKit
import Transport
import XCTest

final class ProxyHeaderTests: XCTestCase {
  private let source = SocketAddress.ipv4(SIMD4(192, 0, 2, 7), port: 4711)
  private let destination = SocketAddress.ipv4(SIMD4(192, 0, 2, 1), port: 25)
  private let source6 = SocketAddress(numeric: "2001:db8::7", port: 4711)!
  private let destination6 = SocketAddress(numeric: "2001:db8::1", port: 25)!
  private let signature: [UInt8] = [0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A]

  /// The header is complete with its last octet, not before it, and what follows does not matter.
  private func assertReads(
    _ octets: [UInt8], _ source: SocketAddress?, _ destination: SocketAddress?, file: StaticString = #filePath, line: UInt = #line
  ) {
    for count in octets.indices {
      XCTAssertEqual(ProxyHeader.read(octets[..<count]), .incomplete, "\(count)", file: file, line: line)
    }
    let expected = ProxyHeader.Reading.complete(ProxyHeader(source: source, destination: destination), count: octets.count)
    for rest in ["", "EHLO x\r\n", "PROXY "] {
      // A slice whose first index is not 0.
      let all = [0, 0] + octets + Array(rest.utf8)
      XCTAssertEqual(ProxyHeader.read(all[2...]), expected, file: file, line: line)
    }
  }

  private func assertRefuses(_ octets: [UInt8], file: StaticString = #filePath, line: UInt = #line) {
    guard case .invalid = ProxyHeader.read(octets[...]) else {
      return XCTFail("\(ProxyHeader.read(octets[...]))", file: file, line: line)
    }
  }

  func testVersionOne() {
    assertReads(Array("PROXY TCP4 192.0.2.7 192.0.2.1 4711 25\r\n".utf8), source, destination)
    assertReads(Array("PROXY TCP6 2001:db8::7 2001:db8::1 4711 25\r\n".utf8), source6, destination6)
    assertReads(Array("PROXY UNKNOWN\r\n".utf8), nil, nil)
    assertReads(Array("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".utf8), nil, nil)
    let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"
    let all = SocketAddress(numeric: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", port: 65_535)
    assertReads(Array(longest.utf8), all, all)
  }

  func testLinesThatAreNone() {
    for line in [
      "EHLO x\r\n", "proxy TCP4 192.0.2.7 192.0.2.1 4711 25\r\n", "PROXYTCP4 192.0.2.7 192.0.2.1 4711 25\r\n",
      "PROXY TCP4 192.0.2.7 192.0.2.1 4711 25\n", "PROXY TCP4 192.0.2.7 192.0.2.1 4711\r\n", "PROXY TCP4 192.0.2.7 192.0.2.1 4711 25 \r\n",
      "PROXY TCP4  192.0.2.7 192.0.2.1 4711 25\r\n", "PROXY TCP4 2001:db8::7 2001:db8::1 4711 25\r\n",
      "PROXY TCP6 192.0.2.7 192.0.2.1 4711 25\r\n", "PROXY TCP4 192.0.2.7 192.0.2.1 04711 25\r\n",
      "PROXY TCP4 192.0.2.7 192.0.2.1 65536 25\r\n", "PROXY TCP4 192.0.2.7 192.0.2.1 -1 25\r\n", "PROXY TCP4 192.0.2.7 192.0.2.1 +1 25\r\n",
      "PROXY TCP4 192.0.2.256 192.0.2.1 4711 25\r\n", "PROXY TCP6 fe80::1%lo fe80::1 4711 25\r\n", "PROXY UDP4 192.0.2.7 192.0.2.1 4711 25\r\n",
      "PROXY \r\n", "PROXY UNKNOWN " + String(repeating: "x", count: 100) + "\r\n",
    ] { assertRefuses(Array(line.utf8)) }
  }

  func testVersionTwo() {
    let ports: [UInt8] = [0x12, 0x67, 0, 25]
    let v4: [UInt8] = [192, 0, 2, 7, 192, 0, 2, 1] + ports
    assertReads(signature + [0x21, 0x11, 0, 12] + v4, source, destination)
    let fields: [UInt8] = [0x04, 0, 1, 9, 0x20, 0, 5, 1, 0, 0, 0, 1]
    assertReads(signature + [0x21, 0x11, 0, UInt8(12 + fields.count)] + v4 + fields, source, destination)
    var v6 = [UInt8](repeating: 0, count: 32)
    for (start, last) in [(0, UInt8(7)), (16, UInt8(1))] { v6.replaceSubrange(start..<(start + 16), with: [0x20, 1, 0x0d, 0xb8] + [UInt8](repeating: 0, count: 11) + [last]) }
    assertReads(signature + [0x21, 0x21, 0, 36] + v6 + ports, source6, destination6)
    // LOCAL, with and without addresses; no family; a Unix socket.
    assertReads(signature + [0x20, 0x00, 0, 0], nil, nil)
    assertReads(signature + [0x20, 0x11, 0, 12] + v4, nil, nil)
    assertReads(signature + [0x21, 0x00, 0, 3, 1, 2, 3], nil, nil)
    assertReads(signature + [0x21, 0x31, 0, 216] + [UInt8](repeating: 0x61, count: 216), nil, nil)
    // The longest that is accepted.
    assertReads(signature + [0x20, 0x00, 0x0F, 0xF0] + [UInt8](repeating: 0, count: 4080), nil, nil)
  }

  func testBinaryHeadersThatAreNone() {
    let v4: [UInt8] = [192, 0, 2, 7, 192, 0, 2, 1, 0x12, 0x67, 0, 25]
    assertRefuses(signature + [0x11, 0x11, 0, 12] + v4)
    assertRefuses(signature + [0x22, 0x11, 0, 12] + v4)
    assertRefuses(signature + [0x21, 0x12, 0, 12] + v4)
    assertRefuses(signature + [0x21, 0x11, 0, 11] + v4)
    assertRefuses(signature + [0x21, 0x21, 0, 12] + v4)
    assertRefuses(signature + [0x20, 0x00, 0x0F, 0xF1])
    var damaged = signature
    damaged[4] = 1
    assertRefuses(damaged)
  }

  func testWhatIsWrittenIsRead() throws {
    let tls = TLSFacts(version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256", serverName: "mx.example")
    for (source, destination) in [(source, destination), (source6, destination6)] {
      let header = ProxyHeader(source: source, destination: destination)
      for version in [ProxyHeader.Version.one, .two] {
        for tls in [nil, tls] { assertReads(try XCTUnwrap(header.octets(version, tls: tls, identifier: "abc")), source, destination) }
      }
    }
    let mapped = ProxyHeader(source: SocketAddress(numeric: "::ffff:192.0.2.7", port: 4711), destination: destination)
    XCTAssertEqual(mapped.octets(.one, tls: nil, identifier: ""), Array("PROXY TCP4 192.0.2.7 192.0.2.1 4711 25\r\n".utf8))
    let other = ProxyHeader(source: source, destination: destination6)
    XCTAssertEqual(other.octets(.one, tls: nil, identifier: ""), Array("PROXY TCP4 192.0.2.7 0.0.0.0 4711 0\r\n".utf8))
    // A server would take the sender of such a header for the client.
    for nameless in [nil, SocketAddress.unix("/x")] {
      XCTAssertNil(ProxyHeader(source: nameless, destination: destination).octets(.two, tls: nil, identifier: ""))
    }
    let long = TLSFacts(version: "TLSv1.3", cipher: String(repeating: "c", count: 2000), serverName: nil)
    let octets = try XCTUnwrap(ProxyHeader(source: source, destination: destination).octets(.two, tls: long, identifier: String(repeating: "i", count: 129)))
    XCTAssertLessThan(octets.count, 100)
  }

  /// Whatever the octets are, the reader neither traps nor changes its mind once it has decided.
  func testRandomOctets() {
    var generator = SplitMix(state: 11)
    let beginnings: [[UInt8]] = [
      signature + [0x21, 0x11, 0, 12], signature + [0x21, 0x21, 0, 36], signature, Array("PROXY TCP4 192.0.2.7 192.0.2.1 ".utf8), [],
    ]
    for _ in 0..<20_000 {
      var octets = beginnings.randomElement(using: &generator)! + (0..<Int.random(in: 0...120, using: &generator)).map { _ in UInt8.random(in: 0...255, using: &generator) }
      if Bool.random(using: &generator), let place = octets.indices.randomElement(using: &generator) { octets[place] = UInt8.random(in: 0...255, using: &generator) }
      var decided: ProxyHeader.Reading?
      for count in 0...octets.count {
        let reading = ProxyHeader.read(octets[..<count])
        if let decided { XCTAssertEqual(reading, decided) } else if reading != .incomplete { decided = reading }
        if case .complete(_, let length) = reading { XCTAssertLessThanOrEqual(length, count) }
      }
    }
  }

  /// What is known of the client's certificate, in the field of TLS: flags, result and common name.
  func testTheCertificateOfTheClient() throws {
    for (client, expected) in [
      (nil, [0x01, 0, 0, 0, 1]), (TLSClientFacts(.none), [0x01, 0, 0, 0, 1]), (TLSClientFacts(.failed("revoked"), digest: "00"), [0x07, 0, 0, 0, 1]),
      (TLSClientFacts(.verified, digest: "00", commonName: "x"), [0x07, 0, 0, 0, 0]),
    ] as [(TLSClientFacts?, [UInt8])] {
      var tls = TLSFacts(version: "V", cipher: "C")
      tls.client = client
      let octets = try XCTUnwrap(ProxyHeader(source: source, destination: destination).octets(.two, tls: tls, identifier: ""))
      let name: [UInt8] = client?.commonName == nil ? [] : [0x22, 0, 1, 0x78]
      let field = expected + [0x21, 0, 1, 0x56] + name + [0x23, 0, 1, 0x43]
      XCTAssertEqual(Array(octets.dropFirst(28)), [0x20, 0, UInt8(field.count)] + field, "\(String(describing: client))")
    }
  }
}
