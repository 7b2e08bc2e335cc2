// VersionTests: one version, in the programs, the manual pages, the C library's pkg-config file and the change log; and one way
// to say where help is.

import Foundation
import ProgramSupport
import Transport
import XCTest

final class VersionTests: XCTestCase {
  private static let programs = ["starttlsd", "starttls-proxy", "starttls-check", "starttls-replay", "ucspi-tlsd", "tlsd-io", "maildir-smtpd"]

  func testOneVersion() throws {
    let version = "\(Version.text)"
    for program in Self.programs {
      let answer = try run([try Programs.path(program), "--version"])
      XCTAssertEqual(answer.output, "\(program) \(version)\n")
      XCTAssertEqual(answer.errors, "")
      let page = try Repository.text("Docs/man/\(program).8").split(separator: "\n")
      XCTAssertTrue(page.contains(".Os smtpstate \(version)"), "Docs/man/\(program).8: .Os")
    }
    XCTAssertEqual(try run(["\(Repository.folder)/Scripts/version"]).output, "\(version)\n")
    // Scripts/install-files fills it in.
    let library = try Repository.text("Sources/CSMTPState/smtpstate.pc.in").split(separator: "\n")
    XCTAssertTrue(library.contains("Version: @VERSION@"))
    XCTAssertTrue(
      try Repository.text("Docs/man/smtpstate.3").split(separator: "\n").contains(".Os smtpstate \(version)"), "smtpstate.3: .Os")
    XCTAssertTrue(
      try Repository.text("Docs/man/starttlsd.conf.5").split(separator: "\n").contains(".Os smtpstate \(version)"), "starttlsd.conf.5: .Os")
    // The header's version, as a text and as numbers.
    let header = try Repository.text("Sources/CSMTPState/smtpstate.h").split(separator: "\n")
    XCTAssertTrue(header.contains("#define SMTPSTATE_VERSION_STRING \"\(version)\""), "smtpstate.h: SMTPSTATE_VERSION_STRING")
    for (name, number) in zip(["MAJOR", "MINOR", "PATCH"], version.split(separator: ".")) {
      XCTAssertTrue(header.contains("#define SMTPSTATE_VERSION_\(name) \(number)"), "smtpstate.h: SMTPSTATE_VERSION_\(name)")
    }
    XCTAssertTrue(try Repository.text("CHANGELOG.md").contains("\n## \(version)"), "CHANGELOG.md")
  }

  func testAnUnknownOptionNamesHelp() throws {
    for program in Self.programs {
      for option in ["--bogus", "-@", "--bogus=1"] {
        let answer = try run([try Programs.path(program), option], code: 100)
        XCTAssertTrue(answer.errors.hasPrefix("\(program): ") && answer.errors.hasSuffix("; see --help\n"), answer.errors)
        XCTAssertEqual(answer.errors.filter { $0 == "\n" }.count, 1, answer.errors)
        XCTAssertEqual(answer.output, "")
      }
    }
  }

  private func run(_ words: [String], code: CInt = 0) throws -> (output: String, errors: String) {
    let folder = TestFolder()
    let program = try SpawnedProgram(
      words, output: .file(folder.path + "/output"), errors: .file(folder.path + "/errors"))
    XCTAssertEqual(program.wait(), .exited(code), "\(words)")
    return (folder.text("output"), folder.text("errors"))
  }
}
