// Command lines as getopt_long(3) reads them, and as the programs see them.

import Glibc
import ProgramSupport
import Transport
import XCTest

final class CommandLineOptionTests: XCTestCase {
  private enum Own: Int, ProgramOption {
    case level, help

    var form: CommandLineOption {
      switch self {
      case .level: CommandLineOption("k", "level", takesValue: true)
      case .help: CommandLineOption(nil, "help")
      }
    }
  }

  private enum Shared: Int, ProgramOption {
    case closeNotify, verbosity, mandatory

    var form: CommandLineOption {
      switch self {
      case .closeNotify: CommandLineOption("S", "close-notify")
      case .verbosity: CommandLineOption("v", "verbosity", takesValue: true)
      case .mandatory: CommandLineOption(nil, "mandatory", takesValue: true)
      }
    }
  }

  /// What a program sees of a command line: `name=value` for each option, then `|` and the operands.
  private func read(_ words: String...) throws(CommandLineError) -> String {
    var arguments = (["program"] + words).map { strdup($0) } + [nil]
    defer { for word in arguments { free(word) } }
    let count = CInt(words.count + 1)
    var seen: [String] = []
    let first = try arguments.withUnsafeMutableBufferPointer { (buffer) throws(CommandLineError) in
      try Own.parse(
        count: count, arguments: buffer.baseAddress!,
        shared: { (option: Shared, value) throws(CommandLineError) in seen.append("\(option.form.name)=\(value)") }
      ) { (option, value) throws(CommandLineError) in
        if value == "refused" { throw CommandLineError("no") }
        seen.append("\(option.form.name)=\(value)")
      }
    }
    return (seen + ["|"] + arguments[first..<Int(count)].map { String(cString: $0!) }).joined(separator: " ")
  }

  private func refusal(_ words: String...) -> String? {
    do throws(CommandLineError) {
      switch words.count {
      case 1: _ = try read(words[0])
      default: _ = try read(words[0], words[1])
      }
      return nil
    } catch {
      return error.description
    }
  }

  func testOptionsOfBothListsInTheirOrder() throws {
    XCTAssertEqual(try read(), "|")
    XCTAssertEqual(try read("-v", "2", "-S", "-k", "1"), "verbosity=2 close-notify= level=1 |")
    XCTAssertEqual(try read("-Sk1", "--help", "--mandatory=a b"), "close-notify= level=1 help= mandatory=a b |")
  }

  func testLongNamesWithEitherFormOfAValueAndShortened() throws {
    XCTAssertEqual(try read("--level=3", "--level", "4", "--clo"), "level=3 level=4 close-notify= |")
    XCTAssertEqual(try read("--verbosity="), "verbosity= |")
  }

  func testTheFirstOperandEndsTheOptions() throws {
    XCTAssertEqual(try read("-S", "program", "-v", "2"), "close-notify= | program -v 2")
    XCTAssertEqual(try read("-S", "--", "-v"), "close-notify= | -v")
    XCTAssertEqual(try read("-", "-S"), "| - -S")
  }

  func testWhatIsWrongIsNamed() {
    XCTAssertEqual(refusal("-x"), "-x is not an option; see --help")
    XCTAssertEqual(refusal("-S", "--levels"), "--levels is not an option; see --help")
    XCTAssertEqual(refusal("--help=1"), "--help=1 is not an option; see --help")
    XCTAssertEqual(refusal("-S", "-v"), "-v needs a value; see --help")
    XCTAssertEqual(refusal("--level"), "--level needs a value; see --help")
    XCTAssertEqual(refusal("-k", "refused"), "no")
  }

  func testNumbers() throws {
    XCTAssertEqual(try Own.level.number("2147483647"), 2_147_483_647)
    for wrong in ["", "-1", "+1", "2147483648", "1 ", "0x1", "99999999999999999999"] {
      XCTAssertThrowsError(try Own.level.number(wrong), wrong) {
        XCTAssertEqual(($0 as? CommandLineError)?.description, "--level must be an unsigned integer")
      }
    }
    XCTAssertEqual(try Own.level.number("7", 5...7), 7)
    XCTAssertThrowsError(try Own.level.number("8", 5...7)) {
      XCTAssertEqual(($0 as? CommandLineError)?.description, "--level must be from 5 to 7")
    }
  }

  func testChoices() throws {
    XCTAssertEqual(try Own.level.choice("two", ["one": 1, "two": 2]), 2)
    XCTAssertThrowsError(try Own.level.choice("three", ["one": 1, "two": 2])) {
      XCTAssertEqual(($0 as? CommandLineError)?.description, "--level must be one of one, two")
    }
  }
}
