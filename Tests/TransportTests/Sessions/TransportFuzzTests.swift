// The sessions that a fuzzer would think of, as a property of random choices; and its own replayed from octets.

import PropertyKit
import PropertyCases
import XCTest

@testable import TransportKit

final class TransportFuzzTests: XCTestCase {
  func testEverySessionEndsWithItsPromisesKept() {
    holds(
      cases: 10_000,
      labels: [
        "with faults": 0.3, "without a fault": 0.2, "handoff": 0.1, "TLS": 0.05, "restarted": 0.02,
        "dialogue inside TLS": 0.02, "relayed": 0.04, "relay idle": 0.003, "client lost": 0.04, "closed: quit": 0.05,
        "closed: client ended": 0.02, "closed: server ended": 0.05, "closed: server refused": 0.02,
        "closed: server garbage": 0.004, "closed: server unasked": 0.001, "closed: injected plaintext": 0.005,
        "closed: tls failed": 0.02, "closed: restart failed": 0.004, "closed: reply timeout": 0.005,
      ], playChosenSession)
  }

  func testOctetsAreSessionsToo() throws {
    var generator = SplitMix(state: 7)
    for _ in 0..<2_000 {
      let count = Int.random(in: 0..<60, using: &generator)
      let octets = (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
      do {
        _ = try TransportFuzz.run(octets)
      } catch let falsified as Falsified {
        return XCTFail("\(octets): \(falsified.message)")
      }
    }
  }
}
