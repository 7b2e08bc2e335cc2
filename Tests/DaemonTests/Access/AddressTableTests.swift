// AddressTableTests: what an address may use, which addresses count as one, and the memory for all of them.

import ClientAccess
import Transport
import XCTest

final class AddressTableTests: XCTestCase {
  private func client(_ text: String) throws -> SocketAddress { try SocketAddress(parsing: text) }

  private func table(
    idleLimit: Int = AddressTable.idleLimit, _ change: (inout AddressLimits) throws -> Void
  ) rethrows -> AddressTable {
    var limits = AddressLimits()
    try change(&limits)
    return AddressTable(limits, idleLimit: idleLimit)
  }

  func testConcurrentSessionsOfOneAddress() throws {
    var table = table { $0.connections = 2 }
    let (first, other) = (try client("192.0.2.1:1"), try client("192.0.2.2:1"))
    XCTAssertNil(table.admit(first, now: 0))
    XCTAssertNil(table.admit(first, now: 0))
    XCTAssertEqual(table.admit(first, now: 0), .connections)
    XCTAssertNil(table.admit(other, now: 0))
    table.sessionEnded(first, now: 0)
    XCTAssertNil(table.admit(first, now: 0))
    XCTAssertEqual(table.admit(first, now: 1_000_000), .connections)
  }

  /// An address that only connects and closes must not occupy all backend processes.
  func testBackendsWithoutSessionsCountAsWell() throws {
    var table = table { $0.connections = 2 }
    let first = try client("192.0.2.1:1")
    for _ in 0..<2 {
      XCTAssertNil(table.admit(first, now: 0))
      table.backendRemains(first, now: 0)
      table.sessionEnded(first, now: 0)
    }
    XCTAssertEqual(table.admit(first, now: 0), .backends)
    table.backendEnded(first, now: 0)
    XCTAssertNil(table.admit(first, now: 0))
  }

  func testConnectionsPerMinuteDrainOneByOne() throws {
    var table = table { $0.connectionsPerMinute = 6 }
    let first = try client("192.0.2.1:1")
    func connect(_ now: Int) -> AddressLimit? {
      let answer = table.admit(first, now: now)
      if answer == nil { table.sessionEnded(first, now: now) }
      return answer
    }
    for _ in 0..<6 { XCTAssertNil(connect(0)) }
    XCTAssertEqual(connect(0), .connectionsPerMinute)
    // One drains in ten seconds. Refused connections do not count.
    XCTAssertEqual(connect(9_999), .connectionsPerMinute)
    XCTAssertNil(connect(10_000))
    XCTAssertEqual(connect(10_000), .connectionsPerMinute)
    for _ in 0..<6 { XCTAssertNil(connect(70_000)) }
    XCTAssertEqual(connect(70_000), .connectionsPerMinute)
  }

  func testHandshakesPerMinute() throws {
    var table = table { $0.handshakesPerMinute = 2 }
    let first = try client("192.0.2.1:1")
    for _ in 0..<2 { table.handshakeStarted(first, now: 0) }
    XCTAssertEqual(table.admit(first, now: 0), .handshakesPerMinute)
    XCTAssertNil(table.admit(first, now: 30_000))
  }

  func testThePenaltyDecaysAndHasAMaximum() throws {
    var table = table { $0.penalty = 10 }
    let first = try client("192.0.2.1:1")
    table.penalise(first, points: 9, now: 0)
    XCTAssertNil(table.admit(first, now: 0))
    table.penalise(first, points: 1, now: 0)
    XCTAssertEqual(table.admit(first, now: 0), .penalty)
    XCTAssertNil(table.admit(first, now: Penalty.decaySeconds * 1000))
    // Twice the limit is the maximum: ten points later it is admitted again.
    table.penalise(first, points: 1_000_000, now: 0)
    XCTAssertEqual(table.admit(first, now: 10 * Penalty.decaySeconds * 1000), .penalty)
    XCTAssertNil(table.admit(first, now: 11 * Penalty.decaySeconds * 1000))
  }

  func testZeroMeansNoLimit() throws {
    var table = table { ($0.connections, $0.penalty) = (0, 0) }
    let first = try client("192.0.2.1:1")
    table.penalise(first, points: 1_000_000, now: 0)
    for _ in 0..<10_000 {
      XCTAssertNil(table.admit(first, now: 0))
      table.backendRemains(first, now: 0)
      table.handshakeStarted(first, now: 0)
    }
  }

  func testAnIPv6NetworkOf64BitsAndAMappedAddressAreOneAddress() throws {
    var table = table { $0.connections = 1 }
    XCTAssertNil(table.admit(try client("[2001:db8:1:2::1]:1"), now: 0))
    XCTAssertEqual(table.admit(try client("[2001:db8:1:2:ffff::2]:1"), now: 0), .connections)
    XCTAssertNil(table.admit(try client("[2001:db8:1:3::1]:1"), now: 0))
    XCTAssertNil(table.admit(try client("[::ffff:192.0.2.1]:1"), now: 0))
    XCTAssertEqual(table.admit(try client("192.0.2.1:1"), now: 0), .connections)
    // The same bits in the other family are another address.
    XCTAssertNil(table.admit(try client("[c000:201::1]:1"), now: 0))
  }

  func testExemptNetworks() throws {
    var table = try table {
      $0.connections = 1
      $0.exempt = try [IPNetwork(parsing: "192.0.2.0/24"), IPNetwork(parsing: "2001:db8::/32")]
    }
    for text in ["192.0.2.9:1", "[::ffff:192.0.2.9]:1", "[2001:db8:ffff::1]:1"] {
      for _ in 0..<10 { XCTAssertNil(table.admit(try client(text), now: 0), text) }
      XCTAssertTrue(table.isExempt(try client(text)), text)
    }
    let other = try client("192.0.3.1:1")
    XCTAssertNil(table.admit(other, now: 0))
    XCTAssertEqual(table.admit(other, now: 0), .connections)
    XCTAssertEqual(table.counts.ipv4, 1)
    XCTAssertEqual(table.counts.ipv6, 0)
  }

  // MARK: Memory

  /// Many networks of 64 bits, as a client with a /32 has: the table stays as large as it may be, the active addresses
  /// stay in it, and so does what is known of IPv4.
  func testManyNetworksDisplaceOnlyIdleOnesOfTheirFamily() throws {
    var table = table(idleLimit: 100) { ($0.connections, $0.connectionsPerMinute) = (1, 1) }
    let active = try client("[2001:db8::1]:1")
    let ipv4 = try client("192.0.2.1:1")
    XCTAssertNil(table.admit(active, now: 0))
    table.penalise(ipv4, points: 1000, now: 0)
    var octets = SIMD16<UInt8>(repeating: 0)
    for number in 0..<100_000 {
      for index in 0..<8 { octets[index] = UInt8(truncatingIfNeeded: (number + 1) >> (8 * (7 - index))) }
      let client = SocketAddress.ipv6(octets, port: 1, scope: 0)
      XCTAssertNil(table.admit(client, now: 0))
      table.sessionEnded(client, now: 0)
    }
    XCTAssertEqual(table.counts.ipv6, 101)
    XCTAssertEqual(table.admit(active, now: 0), .connections)
    XCTAssertEqual(table.admit(ipv4, now: 0), .penalty)
    // The newest ones are kept.
    XCTAssertEqual(table.admit(.ipv6(octets, port: 1, scope: 0), now: 0), .connectionsPerMinute)
  }

  /// An address of which nothing is known any more needs no memory.
  func testAnAddressIsForgottenWhenNothingIsKnownOfIt() throws {
    var table = table { $0.connectionsPerMinute = 60 }
    let first = try client("192.0.2.1:1")
    XCTAssertNil(table.admit(first, now: 0))
    XCTAssertEqual(table.counts.ipv4, 1)
    table.sessionEnded(first, now: 2_000)
    XCTAssertEqual(table.counts.ipv4, 0)
  }

  /// The list of idle addresses against a simple model.
  func testTheOldestIdleAddressIsForgottenFirst() throws {
    var table = table(idleLimit: 3) { $0.penalty = 10 }
    var model: [UInt8] = []
    var state: UInt64 = 7
    for _ in 0..<2_000 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      let last = UInt8(state >> 33 & 7)
      table.penalise(.ipv4(SIMD4(192, 0, 2, last), port: 1), points: 20, now: 0)
      model.removeAll { $0 == last }
      model.append(last)
      if model.count > 3 { model.removeFirst() }
      XCTAssertEqual(table.counts.ipv4, model.count)
    }
    // Asking for the newest first: an answer for an unknown address displaces the oldest one.
    for last in model.reversed() {
      XCTAssertEqual(table.admit(.ipv4(SIMD4(192, 0, 2, last), port: 1), now: 0), .penalty, "\(last) of \(model)")
    }
  }

  // MARK: Networks

  func testNetworksThatCannotBeParsed() {
    for text in [
      "", "192.0.2", "192.0.2.0/33", "192.0.2.0/-1", "192.0.2.0/", "192.0.2.1/24", "2001:db8::/129", "2001:db8::1/64",
      "name.example", "::ffff:192.0.2.0/95", "fe80::1%lo/64", "1.2.3.4/+8", "/8",
    ] {
      XCTAssertThrowsError(try IPNetwork(parsing: text), text)
    }
  }

  func testMappedNetworksAreIPv4() throws {
    XCTAssertEqual(try IPNetwork(parsing: "::ffff:192.0.2.0/120"), try IPNetwork(parsing: "192.0.2.0/24"))
    XCTAssertEqual(try IPNetwork(parsing: "::ffff:192.0.2.7"), try IPNetwork(parsing: "192.0.2.7/32"))
  }
}
