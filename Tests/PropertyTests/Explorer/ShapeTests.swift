// What a session is made of.

import XCTest

@testable import SMTPState
@testable import SessionKit

final class ShapeTests: XCTestCase {
  /// A session is a small value: it owns no buffer and keeps no octets.
  func testSizeOfASession() {
    XCTAssertLessThanOrEqual(MemoryLayout<SMTPSession>.size, 64)
  }
}
