// A driver moves under every policy: each field at its extremes, alone and together.

import PropertyKit
import PropertyCases
import SMTPState
@testable import Transport
import XCTest

@testable import TransportKit

final class PolicyExtremesTests: XCTestCase {
  private static var limits: [(name: String, field: WritableKeyPath<Policy, Int>)] { [
    ("commandLineLimit", \.commandLineLimit), ("responseLineLimit", \.responseLineLimit),
    ("replyLineLimit", \.replyLineLimit), ("replyLinesLimit", \.replyLinesLimit),
    ("outstandingLimit", \.outstandingLimit), ("junkLimit", \.junkLimit), ("commandLimit", \.commandLimit),
    ("chunkLimit", \.chunkLimit),
  ] }
  private static var timers: [(name: String, field: WritableKeyPath<Policy, Int>)] { [
    ("greetingTimeoutMilliseconds", \.greetingTimeoutMilliseconds),
    ("commandTimeoutMilliseconds", \.commandTimeoutMilliseconds),
    ("replyTimeoutMilliseconds", \.replyTimeoutMilliseconds), ("resetTimeoutMilliseconds", \.resetTimeoutMilliseconds),
    ("handshakeTimeoutMilliseconds", \.handshakeTimeoutMilliseconds),
    ("clearPhaseTimeoutMilliseconds", \.clearPhaseTimeoutMilliseconds),
  ] }
  private static let extremes = [
    Int.min, -1, 0, 1, 2, 255, 256, 512, 16_384, 32_702, 32_703, 65_407, 65_534, 65_535, 65_536, Int.max,
  ]

  func testEveryLimitAlone() throws {
    for (name, field) in PolicyExtremesTests.limits {
      for value in PolicyExtremesTests.extremes {
        var policy = Policy()
        policy[keyPath: field] = value
        try check(policy, "\(name) = \(value)")
      }
    }
  }

  func testEveryTimerAlone() throws {
    for (name, field) in PolicyExtremesTests.timers {
      for value in [Int.min, -1, 0, 1, Int.max] {
        var policy = Policy()
        policy[keyPath: field] = value
        try play(policy, "\(name) = \(value)")
      }
    }
  }

  func testAllTogether() {
    holds(cases: 150) { trial in
      var policy = Policy()
      for (_, field) in PolicyExtremesTests.limits {
        policy[keyPath: field] = trial.choices.one(of: PolicyExtremesTests.extremes)
      }
      trial.transcript = { "\(policy)" }
      try self.check(policy, "\(policy)")
    }
  }

  func testTheLargestTimersOfTheDriver() throws {
    for value in [Int.min, 0, Int.max] {
      var timeouts = SessionDriver.Timeouts()
      timeouts.outputStalledMilliseconds = value
      timeouts.relayIdleMilliseconds = value
      timeouts.lingerMilliseconds = value
      timeouts.clientLostMilliseconds = value
      timeouts.sessionMilliseconds = value
      try play(Policy(), "\(value)", timeouts)
    }
  }

  /// The longest lines that a policy allows pass, and no time passes before the session has come to its end.
  private func check(_ policy: Policy, _ what: String) throws {
    let session = try play(policy, what)
    // A client whose lines are all too long has not got its QUIT through: it ends its half.
    session.client.endSending()
    for _ in 0..<100 where !session.driver.isFinished {
      _ = session.client.get()
      session.turn()
    }
    guard session.driver.isFinished else {
      throw Falsified("\(what): it stands still: \(session.driver.watches)")
    }
    guard session.now == 0 else { throw Falsified("\(what): it had to wait for a timer") }
  }

  /// A dialogue with lines as long as the policy allows, up to the end.
  @discardableResult
  private func play(
    _ policy: Policy, _ what: String, _ timeouts: SessionDriver.Timeouts = SessionDriver.Timeouts()
  ) throws -> BareSession {
    let session = try BareSession(policy: policy, timeouts: timeouts)
    guard session.driver.hasRoomForReplies else {
      throw Falsified("\(what): an empty output has no room for a line")
    }
    let command = line("NOOP ", policy.commandLineLimit)
    let reply = line("250-", policy.replyLineLimit) + line("250 ", policy.replyLineLimit)
    var toClient = octets("220 ready\r\n")[...]
    var toServer = (command + octets("NOOP\r\nHELP\r\n") + command + octets("QUIT\r\n"))[...]
    var isQuit = false
    for _ in 0..<2_000 where !session.driver.isFinished {
      toServer = toServer.dropFirst(session.client.put(toServer))
      toClient = toClient.dropFirst(session.server.put(toClient))
      session.turn()
      let isHeard = !session.client.get().isEmpty
      let came = Array(session.server.get().utf8)
      for octet in came {
        if octet == UInt8(ascii: "Q") { isQuit = true }
        if octet == UInt8(ascii: "\n") { toClient += isQuit ? octets("221 bye\r\n") : reply }
      }
      if came.isEmpty, !isHeard, toClient.isEmpty, toServer.isEmpty { break }
    }
    return session
  }

  /// A line of exactly that many octets, where that is possible; not longer than any policy allows.
  private func line(_ start: String, _ limit: Int) -> [UInt8] {
    let length = min(max(limit, 1), 65_535)
    return octets(start) + [UInt8](repeating: 0x78, count: max(0, length - start.utf8.count - 2)) + octets("\r\n")
  }
}
