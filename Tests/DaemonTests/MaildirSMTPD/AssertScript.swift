// AssertScript: a script of octets and what must happen, whatever the cut.

import XCTest

@testable import MaildirKit

/// Runs a script whole and asserts what happened; then cut in two at every octet, and octet by octet, with the same
/// result.
func assertScript(
  _ script: String, _ expected: [String], file: StaticString = #filePath, line: UInt = #line,
  configure: (inout ScriptedSession) -> Void = { _ in }
) {
  let octets = Array(script.utf8)
  func run(_ sizes: [Int]) -> [String] {
    var session = ScriptedSession()
    configure(&session)
    session.send(octets, cutAt: sizes)
    XCTAssertEqual(session.violations, [], file: file, line: line)
    return session.events
  }
  XCTAssertEqual(run([octets.count]), expected, file: file, line: line)
  for cut in 1..<max(2, octets.count) {
    let events = run([cut, octets.count])
    if events != expected { return XCTFail("cut at \(cut): \(events)", file: file, line: line) }
  }
  XCTAssertEqual(run([1]), expected, "octet by octet", file: file, line: line)
}
