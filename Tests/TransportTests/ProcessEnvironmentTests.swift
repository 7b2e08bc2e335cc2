// Variables are removed by name or beginning, whatever octets are in them, and no others.

import Glibc
import Transport
import XCTest

final class ProcessEnvironmentTests: XCTestCase {
  override func tearDown() {
    ProcessEnvironment.remove { $0.hasPrefix("SMTPSTATE_TEST") }
  }

  private func count() -> Int {
    var entry = environ
    while entry.pointee != nil { entry += 1 }
    return entry - environ
  }

  func testOnlyTheChosenOnesAreRemoved() {
    let before = count()
    for name in ["SMTPSTATE_TEST", "SMTPSTATE_TEST:a", "SMTPSTATE_TESTS", "SMTPSTATE_TEST_B"] { setenv(name, "x=y", 1) }
    ProcessEnvironment.remove { $0.isNamed("SMTPSTATE_TEST") || $0.hasPrefix("SMTPSTATE_TEST:") }
    XCTAssertNil(ProcessEnvironment.value("SMTPSTATE_TEST"))
    XCTAssertNil(ProcessEnvironment.value("SMTPSTATE_TEST:a"))
    XCTAssertEqual(ProcessEnvironment.value("SMTPSTATE_TESTS"), "x=y")
    XCTAssertEqual(ProcessEnvironment.characters("SMTPSTATE_TEST_B").map { String(cString: $0) }, "x=y")
    XCTAssertEqual(count(), before + 2)
  }

  func testANameThatIsNoTextIsRemovedToo() {
    let before = count()
    let name: [CChar] = "SMTPSTATE_TEST:".utf8.map { CChar(bitPattern: $0) } + [CChar(bitPattern: 0xff), 0]
    setenv(name, "1", 1)
    XCTAssertEqual(count(), before + 1)
    ProcessEnvironment.remove { $0.hasPrefix("SMTPSTATE_TEST:") }
    XCTAssertEqual(count(), before)
  }

  func testAVariableThatIsThereTwiceIsRemovedTwice() {
    setenv("SMTPSTATE_TEST1", "1", 1)
    setenv("SMTPSTATE_TEST2", "2", 1)
    // As only an exec with such an environment brings it about.
    var entry = environ
    while let text = entry.pointee {
      if String(cString: text) == "SMTPSTATE_TEST1=1" { entry.pointee = strdup("SMTPSTATE_TEST2=1") }
      entry += 1
    }
    ProcessEnvironment.remove { $0.isNamed("SMTPSTATE_TEST2") }
    XCTAssertNil(ProcessEnvironment.value("SMTPSTATE_TEST2"))
  }
}
