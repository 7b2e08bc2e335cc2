// One side is gone and the other one blocks: every departure, with either direction full, in every phase, in clear and
// inside TLS, over small buffers. Each session ends within the time that Docs/Descriptors.md states.

import PropertyKit
import SMTPState
@testable import Transport
import TransportTLS
import XCTest

@testable import TransportKit

final class GoneAndBlockedTests: XCTestCase {
  private enum Phase: CaseIterable {
    case negotiating, relaying, negotiatingInsideTLS, relayingInsideTLS
    var isSecured: Bool { self == .negotiatingInsideTLS || self == .relayingInsideTLS }
    var isRelay: Bool { self == .relaying || self == .relayingInsideTLS }
  }

  /// What is full when one side leaves.
  private enum Blockage: CaseIterable {
    case nothing
    /// The server reads nothing.
    case toServer
    /// The client reads nothing, and the server reads nothing until its replies are written.
    case toClient
  }

  private static let commands = String(repeating: "NOOP aaaa\r\n", count: 14_000)
  private static let hello = ClientStep.say("EHLO client.example\r\n")

  func testEverySessionEndsSoonThatOneSideLeaves() throws {
    try withFolder { folder in
      let credentials = try selfSigned(folder)
      for phase in Phase.allCases {
        for blockage in Blockage.allCases {
          for departure in Departure.allCases where departure != .helperDies {
            try check(scenario(phase, blockage, departure, .engine), credentials)
          }
        }
      }
    }
  }

  /// The client's side is the helper's pipes.
  func testEverySessionEndsSoonWhoseHelperEnds() throws {
    for phase in Phase.allCases where phase.isSecured {
      for blockage in Blockage.allCases { try check(scenario(phase, blockage, .helperDies, .helper), nil) }
    }
  }

  private func scenario(_ phase: Phase, _ blockage: Blockage, _ departure: Departure, _ host: Scenario.HostKind) -> Scenario {
    var client: [ClientStep] = [GoneAndBlockedTests.hello]
    if phase.isSecured { client += [.starttls, GoneAndBlockedTests.hello] }
    if phase.isRelay { client.append(.say("MAIL FROM:<a@client.example>\r\n")) }
    var manners = ServerManners(isBlocking: true)
    switch blockage {
    case .nothing: break
    case .toServer: client.append(.hurry(GoneAndBlockedTests.commands))
    case .toClient:
      client += [.stopReading, .hurry(GoneAndBlockedTests.commands)]
      manners.padding = 400
    }
    if blockage == .toServer { manners.deviation = (phase.isRelay ? 2 : 1, .deafness) }
    var scenario = Scenario(name: "\(phase), full: \(blockage), \(departure)", client: client, servers: [manners])
    scenario.host = host
    scenario.policy.serverReset = host == .engine ? .restart : .rset
    // A client may send much before the decision.
    scenario.policy.commandLimit = 65_535
    scenario.policy.outstandingLimit = 255
    scenario.medium = host == .engine ? .tcp : .socketPair
    scenario.bufferOctets = 4_096
    scenario.departure = departure
    // With RSET the first server has received EHLO and RSET before it receives what is sent inside TLS.
    if host == .helper, let (command, deviation) = manners.deviation {
      scenario.servers = [.at(command + 2, deviation)]
      scenario.servers[0].isBlocking = true
    }
    return scenario
  }

  private func check(_ scenario: Scenario, _ credentials: TLSCredentials?) throws {
    do {
      let (outcome, _) = try SessionRig.run(scenario, credentials: credentials) { _, _ in nil }
      let lasted = try XCTUnwrap(outcome.lastedAfterDeparture, "\(scenario.name): it did not stand still\n\(outcome)")
      let limit = limit(scenario)
      XCTAssertLessThanOrEqual(lasted, limit, "\(scenario.name)\n\(outcome)")
    } catch let falsified as Falsified {
      XCTFail("\(scenario.name): \(falsified.message)")
    }
  }

  /// The bound, in milliseconds.
  private func limit(_ scenario: Scenario) -> Int {
    let timeouts = SessionDriver.Timeouts()
    let end = timeouts.outputStalledMilliseconds + timeouts.lingerMilliseconds
    switch scenario.departure {
    case .clientResets, .helperDies: return timeouts.clientLostMilliseconds
    case .clientCloses, .clientEnds, .serverCloses, .serverEnds, .serverStopsReading, nil:
      return timeouts.relayIdleMilliseconds + end
    }
  }
}
