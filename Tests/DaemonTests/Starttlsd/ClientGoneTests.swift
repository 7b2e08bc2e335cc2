// ClientGoneTests: clients that go away, in every phase and in every way.

import XCTest

final class ClientGoneTests: StarttlsdTestCase {
  func testAClientThatClosesInAnyPhaseLeavesOneLineAndNothingElse() throws {
    try assertEnds(of: { $0.close() }) { phase in
      switch phase {
      // The greeting may wait unread: then the kernel makes a reset of it.
      case .connected: ["abort client ended: client ended", "abort client ended: client lost"]
      case .greeted, .negotiating, .insideALine: ["abort client ended: client ended"]
      case .handshakeAwaited, .insideTheClientHello, .insideTheHandshake: ["handoff: tls failed"]
      case .secured, .negotiatingInsideTLS: ["handoff: client ended"]
      case .dataInClear: ["abort mail: relayed"]
      case .dataInsideTLS: ["handoff: relayed"]
      }
    }
  }

  func testAClientThatResetsInAnyPhaseLeavesOneLineAndNothingElse() throws {
    try assertEnds(of: { $0.reset() }) { phase in
      switch phase {
      // It may be gone before its session begins.
      case .connected: ["abort client ended: client lost", "none: client lost before the greeting"]
      case .greeted, .negotiating, .insideALine: ["abort client ended: client lost"]
      case .handshakeAwaited, .insideTheClientHello, .insideTheHandshake: ["handoff: tls failed"]
      case .secured, .negotiatingInsideTLS: ["handoff: client lost", "handoff: client ended"]
      case .dataInClear: ["abort mail: client lost"]
      case .dataInsideTLS: ["handoff: client lost"]
      }
    }
  }

  func testAClientThatEndsItsHalfInAnyPhaseIsClosed() throws {
    let daemon = try daemon()
    for (index, phase) in SessionPhase.allCases.enumerated() {
      let client = try client(daemon)
      try phase.enter(client)
      try client.endSending()
      if phase.isInClear {
        let rest = try client.remainder()
        XCTAssertEqual(rest.end, .end, "\(phase)")
        XCTAssertTrue(rest.text.isEmpty || phase == .connected && rest.text.hasPrefix("220 "), "\(phase): \(rest.text)")
      } else {
        while !(try client.receiveRaw()).isEmpty {}
      }
      _ = try daemon.sessions(index + 1)
    }
    daemon.assertNothingIsDelivered()
  }

  private func assertEnds(
    of end: (SMTPClient) -> Void, outcomes: (SessionPhase) -> [String], file: StaticString = #filePath, line: UInt = #line
  ) throws {
    let daemon = try daemon()
    for (index, phase) in SessionPhase.allCases.enumerated() {
      let client = try client(daemon)
      try phase.enter(client)
      end(client)
      let session = try daemon.sessions(index + 1, file: file, line: line)[index]
      XCTAssertTrue(outcomes(phase).contains(session.outcome), "\(phase): \(session)", file: file, line: line)
    }
    daemon.assertNothingIsDelivered(file: file, line: line)
  }
}
