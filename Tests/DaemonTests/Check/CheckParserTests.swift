// CheckParserTests: the format of checks: every file of Fixtures/checks is read, and each mistake names its line.

import Foundation
import SMTPProbe
import XCTest

final class CheckParserTests: XCTestCase {
  private static let head = "rule A rule.\nsource RFC 1\nseverity low\n"

  func testAllChecksAreRead() throws {
    let folder = "\(Repository.folder)/Fixtures/checks"
    var count = 0
    for group in Check.Group.allCases {
      for file in try FileManager.default.contentsOfDirectory(atPath: "\(folder)/\(group.rawValue)") {
        let identifier = "\(group.rawValue)/\(file.dropLast(".check".count))"
        let check = try CheckParser.parse(String(contentsOfFile: "\(folder)/\(group.rawValue)/\(file)", encoding: .utf8), identifier: identifier)
        XCTAssertEqual(check.identifier, identifier)
        XCTAssertTrue(check.rule.hasSuffix("."), "\(identifier): the rule is a sentence")
        count += 1
      }
    }
    XCTAssertGreaterThan(count, 60)
  }

  func testAHead() throws {
    let check = try CheckParser.parse(
      "# Why.\nrule One\nrule sentence.\nsource RFC 1, 2\nseverity high\nfinds CVE-1 CVE-2\nothers Some.\nonly own credentials\n"
        + "sweep 16 20-22\n\npadding\nconforms Yes.\n", identifier: "lines/x")
    XCTAssertEqual(check.rule, "One sentence.")
    XCTAssertEqual(check.group, .lines)
    XCTAssertEqual(check.severity, .high)
    XCTAssertEqual(check.finds, ["CVE-1", "CVE-2"])
    XCTAssertEqual(check.needs, [.own, .credentials])
    XCTAssertEqual(check.sweepValues, [16, 20, 21, 22])
    XCTAssertEqual(check.repetitions, 1)
    XCTAssertEqual(try CheckParser.parse(Self.head + "repeat 5\nconforms Yes.\n", identifier: "lines/x").repetitions, 5)
  }

  func testSteps() throws {
    let check = try CheckParser.parse(
      Self.head + "expect patiently 2yz 45z lists auth | ended\nor silence: deviates It waits.\nC: a\\{x 3}\\{client}\\\ntls cut 2 version 1.2 resume\n"
        + "conforms Yes.\n", identifier: "lines/x")
    XCTAssertEqual(check.steps.count, 4)
    guard case .expect(let expectation) = check.steps[0] else { return XCTFail("expect") }
    XCTAssertEqual(expectation.patience, .stall)
    XCTAssertEqual(
      expectation.awaited, [.reply([CodePattern(prefix: "2"), CodePattern(prefix: "45")], [.lists("AUTH")]), .ended])
    XCTAssertEqual(expectation.otherwise.map(\.finding), [Finding(.deviates, "It waits.")])
    XCTAssertEqual(check.steps[1], .send(Template(parts: [.octets(Array("axxx".utf8)), .name("client")])))
    var request = TLSRequest()
    (request.cut, request.version, request.resumes) = (2, "1.2", true)
    XCTAssertEqual(check.steps[2], .tls(request))
  }

  /// The line and a part of the message.
  func testMistakes() {
    let mistakes: [(String, Int, String)] = [
      ("", 1, "severity is missing"),
      ("rule A.\nsource x\nseverity huge\nexpect 220\n", 5, "severity huge"),
      (Self.head, 4, "no steps"),
      (Self.head + "expect 220\n", 5, "a verdict"),
      (Self.head + "rule\n", 4, "nothing follows"),
      (Self.head + "jump\n", 4, "jump"),
      (Self.head + "expect\n", 4, "empty"),
      (Self.head + "expect 2x0\n", 4, "2x0"),
      (Self.head + "expect 2y0\n", 4, "2y0"),
      (Self.head + "expect 250 lists\n", 4, "lists"),
      (Self.head + "expect 250 likes x\n", 4, "likes"),
      (Self.head + "expect ended 250\n", 4, "no condition"),
      (Self.head + "or 250: conforms X.\n", 4, "only after expect"),
      (Self.head + "expect 220\nor 250 conforms\n", 5, "colon"),
      (Self.head + "expect 220\nor 250: fine X.\n", 5, "fine"),
      (Self.head + "expect 220\nor 250: conforms\n", 5, "a sentence"),
      (Self.head + "conforms\n", 4, "a sentence"),
      (Self.head + "C: \\q\n", 4, "followed by none"),
      (Self.head + "C: \\xZZ\n", 4, "hexadecimal"),
      (Self.head + "C: \\x+1\n", 4, "hexadecimal"),
      (Self.head + "C: \\{nobody}\n", 4, "nobody"),
      (Self.head + "C: \\{x 9999999999}\n", 4, "octets"),
      (Self.head + "C: \\{x\n", 4, "without }"),
      (Self.head + "tls cut 0\n", 4, "cut 0"),
      (Self.head + "tls cut\n", 4, "a value"),
      (Self.head + "tls version 2.0\n", 4, "2.0"),
      (Self.head + "examine weather\n", 4, "weather"),
      (Self.head + "cut 3\n", 4, "no argument"),
      (Self.head + "only you\nexpect 220\nconforms X.\n", 7, "only you"),
      (Self.head + "sweep 5\npadding\nconforms X.\n", 7, "sweep 5"),
      (Self.head + "sweep 30-20\npadding\nconforms X.\n", 7, "sweep 30-20"),
      (Self.head + "padding\nconforms X.\n", 6, "belong together"),
      (Self.head + "repeat 1\nconforms X.\n", 6, "repeat 1"),
      (Self.head + "repeat 2\nsweep 16\npadding\nconforms X.\n", 8, "without sweep"),
    ]
    for (text, line, message) in mistakes {
      XCTAssertThrowsError(try CheckParser.parse(text, identifier: "lines/x"), text) { error in
        let error = error as? CheckError
        XCTAssertEqual(error?.line, line, "\(text): \(String(describing: error))")
        XCTAssertTrue(error?.text.contains(message) ?? false, "\(text): \(String(describing: error))")
      }
    }
    for identifier in ["x", "lines/", "weather/x", "lines/x/y"] {
      XCTAssertThrowsError(try CheckParser.parse(Self.head + "conforms X.\n", identifier: identifier), identifier)
    }
  }

  /// The parser is total: no text traps it.
  func testEveryDamageIsACheckOrAnError() throws {
    let text = try Repository.text("Fixtures/checks/injection/boundary.check")
    var random = SystemRandomNumberGenerator()
    let octets = Array(text.utf8)
    for _ in 0..<200 {
      var damaged = octets
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        damaged[Int.random(in: 0..<damaged.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      damaged.removeLast(Int.random(in: 0..<damaged.count / 2, using: &random))
      _ = try? CheckParser.parse(String(decoding: damaged, as: UTF8.self), identifier: "injection/boundary")
    }
  }
}
