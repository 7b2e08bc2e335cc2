// That the two sessions really are compared: a difference would be seen.

import CSMTPState
import SMTPState
import XCTest

@testable import CSessionKit

final class StepTests: XCTestCase {
  func testEveryEventIsCompared() {
    let before = Differences.comparisons
    var session = SMTPSession(Policy())
    _ = session.receive([0x32].span, from: .server)
    _ = session.nextCommand()
    _ = session.outputDrained()
    _ = session.tlsUnavailable()
    _ = session.timerExpired(.command)
    _ = session.inputEnded(from: .server)
    _ = session.peeked(nil, ended: false)
    _ = session.handshakeFinished(.established)
    _ = session.serverRestarted(.ready)
    XCTAssertEqual(Differences.comparisons, before + 9)
  }

  /// No other command is taken for one, whatever octet of it differs.
  func testACommandIsTheSameAsNoOther() {
    let commands: [(Command, smtpstate_command)] = [
      (.keep, smtpstate_command(kind: 1, party: 0, hold: 0, verb: 0, separator: 0, reply: 0, reason: 0, reserved: 0)),
      (.drop(.reply), smtpstate_command(kind: 2, party: 0, hold: 2, verb: 0, separator: 0, reply: 0, reason: 0, reserved: 0)),
      (.forward(.mail), smtpstate_command(kind: 3, party: 0, hold: 0, verb: 5, separator: 0, reply: 0, reason: 0, reserved: 0)),
      (.pass(.space), smtpstate_command(kind: 4, party: 0, hold: 0, verb: 0, separator: 32, reply: 0, reason: 0, reserved: 0)),
      (.reply(.goodbye), smtpstate_command(kind: 7, party: 0, hold: 0, verb: 0, separator: 0, reply: 4, reason: 0, reserved: 0)),
      (.close(.quit), smtpstate_command(kind: 15, party: 0, hold: 0, verb: 0, separator: 0, reply: 0, reason: 2, reserved: 0)),
    ]
    for (command, c) in commands {
      XCTAssertTrue(c.isSame(as: command), "\(command)")
      for place in 0..<MemoryLayout<smtpstate_command>.size {
        var other = c
        withUnsafeMutableBytes(of: &other) { $0[place] += 1 }
        XCTAssertFalse(other.isSame(as: command), "\(command), octet \(place)")
      }
    }
  }
}
