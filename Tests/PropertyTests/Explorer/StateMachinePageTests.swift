// P10: everything in the vocabulary is reached, and the page that shows how is up to date.

import Foundation
import XCTest

@testable import SessionKit

final class StateMachinePageTests: XCTestCase {
  func testP10EverythingIsReachedAndThePageShowsHow() throws {
    let (page, missing) = StateMachinePage.make()
    XCTAssertEqual(missing, [], "never reached")
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("Docs/StateMachine.md")
    if ProcessInfo.processInfo.environment["SMTPSTATE_WRITE_DOCS"] == "1" {
      try page.write(to: file, atomically: true, encoding: .utf8)
    }
    let written = try? String(contentsOf: file, encoding: .utf8)
    XCTAssertTrue(written == page, "Docs/StateMachine.md is out of date: run `make docs`")
  }
}
