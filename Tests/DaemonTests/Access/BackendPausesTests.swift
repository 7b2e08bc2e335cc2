// BackendPausesTests: for whom a server is left out after failures, and for how long. The time is the test's own.

import ClientAccess
import XCTest

final class BackendPausesTests: XCTestCase {
  private var server = BackendPauses()

  private func client(_ number: Int) throws -> IPNetwork { try IPNetwork(parsing: "192.0.\(number / 256).\(number % 256)") }

  /// A session of this client tries the server, and fails at once.
  private func fail(_ client: IPNetwork?, isRefusal: Bool = false, now: Int) {
    server.attemptBegins(for: client, now: now)
    server.failed(isRefusal: isRefusal, only: client, now: now)
    server.attemptEnded(for: client)
  }

  private func answer(_ client: IPNetwork?, now: Int) {
    server.attemptBegins(for: client, now: now)
    server.answered(client)
    server.attemptEnded(for: client)
  }

  func testThePauseIsDoubledUpToThirtySeconds() {
    var now = 0
    for length in [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
      XCTAssertFalse(server.isLeftOut(for: nil, now: now))
      fail(nil, now: now)
      XCTAssertTrue(server.isLeftOut(for: nil, now: now + length - 1))
      now += length
    }
    answer(nil, now: now)
    fail(nil, now: now)
    XCTAssertFalse(server.isLeftOut(for: nil, now: now + 1_000))
  }

  func testFailuresAtTheSameTimeAreOne() throws {
    for _ in 0..<3 { fail(nil, now: 0) }
    XCTAssertFalse(server.isLeftOut(for: nil, now: 1_000))
    server = BackendPauses()
    for _ in 0..<3 { fail(try client(1), now: 0) }
    XCTAssertFalse(server.isLeftOut(for: try client(1), now: 1_000))
  }

  func testARefusalLeavesItOutForASecondEachTime() throws {
    for second in 0..<3 {
      XCTAssertFalse(server.isLeftOut(for: nil, now: second * 1_000))
      fail(nil, isRefusal: true, now: second * 1_000)
      XCTAssertTrue(server.isLeftOut(for: nil, now: second * 1_000 + 999))
    }
    server.attemptBegins(for: nil, now: 3_000)
    XCTAssertFalse(server.isLeftOut(for: nil, now: 3_000), "the others try it too")
    // After a refusal the pauses begin with a second.
    server.failed(isRefusal: false, only: nil, now: 3_000)
    server.attemptEnded(for: nil)
    XCTAssertFalse(server.isLeftOut(for: nil, now: 4_000))
  }

  func testOneSessionTriesItAfterAPause() {
    fail(nil, now: 0)
    server.attemptBegins(for: nil, now: 1_000)
    XCTAssertTrue(server.isLeftOut(for: nil, now: 100_000))
    server.attemptEnded(for: nil)
    XCTAssertFalse(server.isLeftOut(for: nil, now: 100_000))
  }

  func testAClientLeavesItOutForItself() throws {
    let (first, other) = (try client(1), try client(2))
    var now = 0
    for length in [1_000, 2_000, 4_000] {
      fail(first, now: now)
      XCTAssertFalse(server.isLeftOut(for: other, now: now))
      answer(other, now: now)
      XCTAssertTrue(server.isLeftOut(for: first, now: now + length - 1))
      now += length
      XCTAssertFalse(server.isLeftOut(for: first, now: now))
    }
    // While it tries the server again, its other sessions do not.
    server.attemptBegins(for: first, now: now)
    XCTAssertTrue(server.isLeftOut(for: first, now: now + 7_999))
    XCTAssertFalse(server.isLeftOut(for: other, now: now))
    answer(first, now: now)
    XCTAssertFalse(server.isLeftOut(for: first, now: now))
  }

  func testTwoClientsLeaveItOutForAll() throws {
    fail(try client(1), now: 0)
    fail(try client(2), now: 0)
    XCTAssertTrue(server.isLeftOut(for: try client(3), now: 999))
    XCTAssertFalse(server.isLeftOut(for: try client(3), now: 1_000))
  }

  func testA220BetweenTwoFailuresClearsTheFirst() throws {
    for number in 1..<10 {
      fail(try client(number), now: 0)
      XCTAssertFalse(server.isLeftOut(for: try client(100), now: 0))
      answer(try client(100), now: 0)
    }
  }

  func testAServerThatFailsForAllIsLeftOutLongerAndLonger() throws {
    fail(try client(1), now: 0)
    var now = 0
    for (number, length) in [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000].enumerated() {
      XCTAssertFalse(server.isLeftOut(for: try client(100), now: now))
      fail(try client(2 + number), now: now)
      XCTAssertTrue(server.isLeftOut(for: try client(100), now: now + length - 1))
      now += length
    }
  }

  /// Those that fail again do not wait together: each in turn tries it, and the others leave it out meanwhile.
  func testWhileOneClientTriesItTheOthersLeaveItOut() throws {
    for number in 1...3 { fail(try client(number), now: 0) }
    var now = 1_000
    // Not with the one whose failure began the pause.
    server.attemptBegins(for: try client(2), now: now)
    XCTAssertFalse(server.isLeftOut(for: try client(1), now: now))
    for number in [1, 3, 4] {
      XCTAssertFalse(server.isLeftOut(for: try client(number), now: now))
      server.attemptBegins(for: try client(number), now: now)
      for other in [1, 3, 4, 5] { XCTAssertTrue(server.isLeftOut(for: try client(other), now: now + 1_999), "\(number), \(other)") }
      now += 2_000
    }
    // The session that began before the others ends.
    server.attemptEnded(for: try client(2))
    XCTAssertTrue(server.isLeftOut(for: try client(5), now: now - 1))
    server.attemptEnded(for: try client(4))
    XCTAssertFalse(server.isLeftOut(for: try client(5), now: now - 1))
  }

  // MARK: Strangers

  /// How many of the others' sessions get the server in ten minutes, in thousandths, while all sessions of these strangers fail.
  private func share(strangers: Int, isRefusal: Bool, hangs: Bool) throws -> Int {
    server = BackendPauses()
    let (strangers, other) = (try (0..<strangers).map(client), try client(1_000))
    var (served, all) = (0, 0)
    var waiting: [IPNetwork: Int] = [:]
    for now in stride(from: 0, to: 600_000, by: 100) {
      for stranger in strangers {
        if let since = waiting[stranger], now - since < 5_000 { continue }
        if waiting.removeValue(forKey: stranger) != nil {
          server.failed(isRefusal: isRefusal, only: stranger, now: now)
          server.attemptEnded(for: stranger)
        }
        guard !server.isLeftOut(for: stranger, now: now) else { continue }
        if hangs {
          server.attemptBegins(for: stranger, now: now)
          waiting[stranger] = now
        } else {
          fail(stranger, isRefusal: isRefusal, now: now)
        }
      }
      // Each time after them.
      all += 1
      guard !server.isLeftOut(for: other, now: now) else { continue }
      answer(other, now: now)
      served += 1
    }
    return served * 1_000 / all
  }

  func testAFewStrangersDoNotKeepItFromTheOthers() throws {
    for strangers in [1, 2, 4] {
      for (isRefusal, hangs) in [(false, false), (true, false), (false, true)] {
        XCTAssertGreaterThan(
          try share(strangers: strangers, isRefusal: isRefusal, hangs: hangs), 950, "\(strangers), refused: \(isRefusal), hangs: \(hangs)")
      }
    }
  }

  func testClientsThatFailAgainCountOnlyAfterTheyWereForgotten() throws {
    let other = try client(1_000)
    let strangers = try (1..<BackendPauses.clientLimit).map(client)
    for stranger in strangers { fail(stranger, now: 0) }
    // The pause of the first two is over.
    answer(other, now: 1_000)
    for stranger in strangers { fail(stranger, now: 1_000) }
    XCTAssertFalse(server.isLeftOut(for: other, now: 1_000))
    // Three more: the first two of them are forgotten.
    for number in 2_000..<2_003 {
      fail(try client(number), now: 1_000)
      answer(other, now: 1_000)
    }
    for stranger in strangers.prefix(2) { fail(stranger, now: 1_000) }
    XCTAssertTrue(server.isLeftOut(for: other, now: 1_000))
  }

  /// No 220 comes: nobody else is there. They keep it out for some seconds and no longer.
  func testStrangersAloneCannotGoOn() throws {
    for (begin, end) in [(0, 1_000), (1_000, 3_000), (3_000, 5_000)] {
      for number in 1...2 {
        server.attemptBegins(for: try client(number), now: begin)
        server.failed(isRefusal: false, only: try client(number), now: end)
        server.attemptEnded(for: try client(number))
      }
    }
    for now in stride(from: 10_000, to: 600_000, by: 500) {
      for number in 1...2 {
        server.attemptBegins(for: try client(number), now: now)
        XCTAssertFalse(server.isLeftOut(for: try client(3), now: now), "\(now)")
        server.failed(isRefusal: false, only: try client(number), now: now)
      }
      XCTAssertFalse(server.isLeftOut(for: try client(3), now: now), "\(now)")
    }
  }
}
