// FuzzTests: what the fuzzer runs, without a fuzzer, over all that it has found.

import XCTest

final class FuzzTests: XCTestCase {
  func testSMTPDFuzzAgain() throws { try replay("SMTPDFuzz", SMTPDFuzz.run) }
}
