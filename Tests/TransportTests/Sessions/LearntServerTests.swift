// LearntServerTests: nobody can see that a session began with what was learnt of the server, but the server that was not started.
//
// Each case plays a session twice with the same scripts in the same pieces: with the server from the start, and with what was
// learnt. Client, helper and operator see the same; a server that was started has received the same.

import PropertyCases
import PropertyKit
import SMTPState
import Transport
import XCTest

@testable import TransportKit

final class LearntServerTests: XCTestCase {
  private static let hellos = [
    "EHLO client.example\r\n", "ehlo client.example\r\n", "EHLO [192.0.2.7]\r\n", "EHLO [IPv6:2001:db8::7]\r\n", "EHLO client\r\n", "EHLO\r\n",
    "EHLO  client.example\r\n", "EHLO client.example \r\n", "EHLO client.example x\r\n", "EHLO \u{FF}.example\r\n", "EHLO a..b\r\n",
    "EHLO [\r\n", "EHLO []\r\n", "EHLO \(String(repeating: "a.", count: 128))\r\n", "EHLO client.example\n", "HELO client.example\r\n",
  ]

  func testASessionIsTheSameAsWithTheServerFromTheStart() {
    holds(
      cases: 200,
      labels: ["not started": 0.1, "started": 0.2, "started only inside TLS": 0.02, "relayed": 0.05, "handoff": 0.1]
    ) { trial in
      var scenario = SessionChoices.scenario(trial.choices)
      scenario.policy.serverReset = .restart
      if trial.choices.happens(1, of: 3) { scenario.client.insert(.say(trial.choices.one(of: LearntServerTests.hellos)), at: 0) }
      // When these two leave depends on who has written what.
      scenario.client.removeAll { $0 == .vanish || $0 == .close }
      // What the first server sends until it is needed is as it was learnt.
      scenario.servers[0].greeting = "220"
      if let (command, deviation) = scenario.servers[0].deviation { scenario.servers[0].deviation = command > 0 ? (command, deviation) : nil }
      for index in scenario.servers.indices { scenario.servers[index].hasFixedQuit = true }
      trial.transcript = { "\(scenario)" }

      let (full, _) = try SessionRig.run(scenario) { _, _ in nil }
      scenario.isLearnt = true
      let (learnt, _) = try SessionRig.run(scenario) { _, _ in nil }
      try learnt.check(scenario)
      trial.label(learnt.isFirstServerStarted ? "started" : learnt.servers.count > 1 ? "started only inside TLS" : "not started")
      if learnt.record?.end == .relayed { trial.label("relayed") }
      if learnt.handoffs > 0 { trial.label("handoff") }
      // A server that was to do something special has not had the opportunity, or has it at another moment.
      guard scenario.servers[0].deviation == nil else { return }
      try learnt.checkEqual(to: full)
    }
  }
}

extension SessionOutcome {
  /// A server of the clear phase was started, and was sent something.
  fileprivate var isFirstServerStarted: Bool { servers.first?.received.isEmpty == false }

  fileprivate func checkEqual(to full: SessionOutcome) throws {
    var other = full
    other.servers[0] = (received: servers[0].received, sent: other.servers[0].sent)
    guard looksLike(other) else { throw Falsified("it is not the same:\n\(self)\n-- but should be:\n\(full)") }
    if isFirstServerStarted {
      guard servers[0].received == full.servers[0].received else { throw Falsified("the server received something else:\n\(self)\n-- and:\n\(full)") }
    } else {
      let lines = SessionOutcome.lines(full.servers[0].received).lines.map { $0.prefix(4).uppercased() }
      guard [[], ["EHLO"], ["QUIT"], ["EHLO", "QUIT"]].contains(lines) else { throw Falsified("no server received \(lines)") }
    }
  }
}
