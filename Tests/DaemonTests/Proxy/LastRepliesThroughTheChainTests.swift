// LastRepliesThroughTheChainTests: sessions through the chain in which client and server both close immediately after QUIT.
//
// What LastRepliesTests asks of starttlsd, asked of ucspi-tlsd, starttls-proxy and tlsd-io: three processes between
// which the last replies can be lost. Here fewer sessions, since each starts them all; SMTPSTATE_SESSIONS is another
// number, and `make test-last-replies` has a thousand.

import Foundation
import XCTest

final class LastRepliesThroughTheChainTests: ProxyTestCase {
  private let count = ProcessInfo.processInfo.environment["SMTPSTATE_SESSIONS"].flatMap(Int.init) ?? 200

  func testSessionsInClear() throws { try assertNothingIsLost(isSecured: false) }

  func testSessionsInsideTLS() throws { try assertNothingIsLost(isSecured: true) }

  private func assertNothingIsLost(isSecured: Bool) throws {
    let server = "exec \(try Programs.path("maildir-smtpd")) --hostname mx.example \(folder.path)/Maildir"
    for number in 0..<count {
      let connection = try chained(helper: ["-S"], script: server)
      try connection.client.hurryToTheEnd(ofSession: number, isSecured: isSecured)
      XCTAssertEqual(connection.process.wait(), .exited(0), connection.process.errors)
      connection.assertLine(isSecured ? "decision=handoff" : "decision=abort", "end=\"relayed\"")
    }
    assertNothingIsLeft()
    let delivered = folder.names(in: "Maildir/new").compactMap { name in
      // After the five lines that maildir-smtpd adds: Return-Path, Delivered-To, and the three of Received.
      folder.text("Maildir/new/" + name).split(separator: "\n", maxSplits: 5, omittingEmptySubsequences: false).last
    }
    XCTAssertEqual(
      delivered.sorted(), (0..<count).map { "Subject: half a message\n\nHalf a line, number \($0).\n" }.sorted())
    XCTAssertEqual(folder.names(in: "Maildir/tmp"), [])
  }
}
