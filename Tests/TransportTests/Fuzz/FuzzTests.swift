// FuzzTests: what the fuzzers run, without a fuzzer, over all that they have found.

import PropertyCases
import XCTest

@testable import TransportKit

final class FuzzTests: XCTestCase {
  func testUCSPIEnvironmentFuzzAgain() throws { try replay("UCSPIEnvironmentFuzz", UCSPIEnvironmentFuzz.run) }
  func testTransportFuzzAgain() throws { try replay("TransportFuzz", TransportFuzz.run) }
  func testTLSInfoFuzzAgain() throws { try replay("TLSInfoFuzz", TLSInfoFuzz.run) }
}
