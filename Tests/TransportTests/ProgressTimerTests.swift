// A timer that a drip does not restart, and sessions that drip.

import Glibc
import SMTPState
@testable import Transport
import XCTest

@testable import TransportKit

final class ProgressTimerTests: XCTestCase {
  func testOnlyEnoughProgressRestartsIt() {
    var timer = ProgressTimer(milliseconds: 100, leastOctets: 10)
    XCTAssertFalse(timer.hasPassed(now: 1_000))
    timer.moved(1_000, now: 0)
    XCTAssertNil(timer.until, "it was not started")
    timer.start(now: 0)
    timer.start(now: 50)
    XCTAssertEqual(timer.until, 100)
    timer.moved(9, now: 60)
    XCTAssertEqual(timer.until, 100)
    timer.moved(1, now: 70)
    XCTAssertEqual(timer.until, 170)
    timer.moved(9, now: 80)
    XCTAssertTrue(timer.hasPassed(now: 170))
    timer.stop()
    XCTAssertFalse(timer.hasPassed(now: 1_000))
  }

  func testTheLargestTimeoutsLeadToTheEndOfTime() {
    XCTAssertEqual(Clock.time(Int.max, after: 1), Int.max)
    XCTAssertEqual(Clock.time(Int.min, after: -1), Int.min)
    XCTAssertEqual(Clock.time(-5, after: 7), 2)
  }

  /// One octet a minute, in either direction, keeps no relay.
  func testARelayThatDripsEnds() throws {
    for isFromServer in [false, true] {
      let session = try BareSession()
      try session.relay()
      let end = session.play(every: 60_000, until: 3_600_000) { client, server in
        (isFromServer ? server : client).put("x")
      }
      XCTAssertEqual(end, .relayIdle)
      XCTAssertLessThanOrEqual(session.now, 660_000 + 60_000)
    }
  }

  /// A slow line keeps it.
  func testARelayThatIsSlowGoesOn() throws {
    let session = try BareSession()
    try session.relay()
    let end = session.play(every: 60_000, until: 3_600_000) { client, _ in client.put("ten octets") }
    XCTAssertNil(end)
  }

  /// A client that takes some octets a minute is stalled, in the relay and before it; one that takes enough is not.
  func testAClientThatTakesItsOutputInDripsIsStalled() throws {
    for isRelay in [false, true] {
      for (taken, end) in [(100, SessionRecord.End.outputStalled), (20_000, nil)] {
        var policy = Policy()
        policy.replyLinesLimit = 65_535
        let session = try BareSession(policy: policy, bufferOctets: 4_096)
        if isRelay { try session.relay() }
        func fill() {
          for _ in 0..<50 {
            session.server.fill()
            session.turn()
          }
        }
        fill()
        let came = session.play(every: 60_000, until: 500_000) { client, _ in
          _ = client.get(taken)
          fill()
        }
        XCTAssertEqual(came, end, "relay: \(isRelay), \(taken) octets a minute")
      }
    }
  }

  func testABusyRelayEndsAfterTheSessionsTime() throws {
    var timeouts = SessionDriver.Timeouts()
    timeouts.sessionMilliseconds = 3_600_000
    let session = try BareSession(timeouts: timeouts)
    try session.relay()
    let end = session.play(every: 30_000, until: 7_200_000) { client, server in
      client.put(String(repeating: "x", count: 100))
      _ = server.get()
    }
    XCTAssertEqual(end, .sessionTimeout)
    XCTAssertEqual(session.now, 3_600_000)
  }

  /// A client that is watched is sent 421.
  func testAClientThatIsWatchedIsSent421AtTheEndOfItsTime() throws {
    var timeouts = SessionDriver.Timeouts()
    timeouts.sessionMilliseconds = 1_000
    let session = try BareSession(timeouts: timeouts)
    session.server.put("220 ready\r\n")
    let end = session.play(every: 500, until: 10_000) { _, _ in }
    XCTAssertEqual(end, .sessionTimeout)
    XCTAssertEqual(session.client.get(), "220 ready\r\n421 4.4.2 Timed out, closing connection\r\n")
  }

  func testNoLimitOfASession() throws {
    var timeouts = SessionDriver.Timeouts()
    timeouts.sessionMilliseconds = 0
    let session = try BareSession(timeouts: timeouts)
    try session.relay()
    let end = session.play(every: 600_000, until: 200_000_000) { client, server in
      client.put(String(repeating: "x", count: 100))
      _ = server.get()
    }
    XCTAssertNil(end)
  }
}
