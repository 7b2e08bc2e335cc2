// FuzzTests: what the fuzzer runs, without a fuzzer, over all that it has found.

import PropertyCases
import XCTest

@testable import MaildirKit

final class FuzzTests: XCTestCase {
  func testSMTPDFuzzAgain() throws { try replay("SMTPDFuzz", SMTPDFuzz.run) }
}
