// Fault injection: every fault at every call of whole sessions. Each session ends, with the promises kept that a session
// shows from outside (P1 to P3, P5, P6, P9, P11, P12; see DialogueChecks.swift).
//
// A session is played once to count its calls; then again for every call and every fault. `make test` plays each fault at
// every third call, so that each call meets a third of the faults. SMTPSTATE_SCENARIO plays the scenarios whose name contains
// its value, and says more of them.

import PropertyKit
import PropertyCases
import Foundation
import SMTPState
@testable import Transport
import TransportTLS
import XCTest

@testable import TransportKit

final class FaultInjectionTests: XCTestCase {
  func testSessionsOfTheProxy() throws {
    try play(Scenario.ofTheProxy, nil)
  }

  func testSessionsOfTheDaemon() throws {
    try withFolder { folder in try play(Scenario.ofTheDaemon, try selfSigned(folder)) }
  }

  private func play(_ scenarios: [Scenario], _ credentials: TLSCredentials?) throws {
    let wanted = ProcessInfo.processInfo.environment["SMTPSTATE_SCENARIO"]
    var runs = 0
    for scenario in scenarios where wanted.map({ scenario.fullName.contains($0) }) ?? true {
      let (reference, notes) = try played(scenario, credentials, "no fault") { _, _ in nil }
      XCTAssertEqual(reference.record?.decision, scenario.decision, "\(scenario.fullName)\n\(reference)")
      XCTAssertEqual(reference.record?.end, scenario.end, "\(scenario.fullName)\n\(reference)")
      if wanted != nil { print("\(scenario.fullName): \(notes.map(\.call.rawValue))\n\(reference)") }
      let interval = wanted == nil ? Extent.choose(quick: 3, full: 1) : 1
      for (number, plan) in FaultPlan.all.enumerated() where !scenario.isLarge || !plan.isOctetByOctet {
        for (index, note) in notes.enumerated() where (index + number) % interval == 0 {
          runs += 1
          let what = "\(plan) at call \(index + 1), \(note)"
          let (outcome, _) = try played(scenario, credentials, what) { call, position in
            plan.answer(call, at: position, target: note.call, at: index + 1)
          }
          report(scenario, what) {
            if plan.isHarmless(at: note) {
              if !scenario.dependsOnTiming || !plan.isDelay { try outcome.checkSame(as: reference) }
            } else if !scenario.dependsOnTiming {
              try outcome.checkShortened(of: reference, plan.isBreak ? note : nil)
            }
          }
        }
      }
    }
    print("\(runs) sessions")
  }

  /// Plays a scenario and checks what is true of all sessions.
  private func played(
    _ scenario: Scenario, _ credentials: TLSCredentials?, _ what: String, _ answer: @escaping SessionRig.Answer
  ) throws -> (SessionOutcome, [CallNote]) {
    var result = (outcome: SessionOutcome(), notes: [CallNote]())
    report(scenario, what) {
      let isInSession: ((SessionDriver) -> Bool)? = what == "no fault" ? { $0.state == .session } : nil
      result = try SessionRig.run(scenario, credentials: credentials, noting: isInSession, answer)
      try result.outcome.check(scenario)
    }
    return result
  }

  private func report(_ scenario: Scenario, _ what: String, _ body: () throws -> Void) {
    do {
      try body()
    } catch let falsified as Falsified {
      XCTFail("\(scenario.fullName), \(what): \(falsified.message)")
    } catch {
      XCTFail("\(scenario.fullName), \(what): \(error)")
    }
  }
}
