// TOMLTextTests: the reader of configuration files: what it reads, where it places faults, and that no octets end it.

import PropertyKit
import TOMLText
import XCTest

final class TOMLTextTests: XCTestCase {
  private func read(_ text: String) throws -> TOMLDocument { try TOMLDocument(parsing: Array(text.utf8)) }

  /// The value of the key `k`.
  private func value(_ text: String) throws -> TOMLValue? { try read("k = \(text)\n").tables[0]["k"]?.value }

  func testTablesAndKeysHaveTheirPlaces() throws {
    let document = try read(
      """
      # settings
      policy = "required" # a comment

        "quoted key"\t=\ttrue
      [listener.mx] # and a table
      listen = [
        "[::]:25", # IPv6
        '0.0.0.0:25',
      ]
      grace = 3
      [ listener . "a b" ]
      """)
    XCTAssertEqual(document.tables.map(\.path), [[], ["listener", "mx"], ["listener", "a b"]])
    XCTAssertEqual(document.tables.map(\.position.line), [1, 5, 11])
    XCTAssertEqual(document.tables[0].entries.map(\.key), ["policy", "quoted key"])
    XCTAssertEqual(document.tables[0]["quoted key"]?.position, TOMLPosition(line: 4, column: 3))
    XCTAssertEqual(document.tables[1]["listen"]?.value, .array([.string("[::]:25"), .string("0.0.0.0:25")]))
    XCTAssertEqual(document.tables[1]["grace"]?.position.line, 10)
    XCTAssertEqual(try read("\u{FEFF}k = 1\r\nl = 2").tables[0].entries.map(\.position.line), [1, 2])
    XCTAssertEqual(try read("").tables.count, 1)
  }

  func testValues() throws {
    for (text, expected): (String, TOMLValue) in [
      (#""a\tb\"\\\u00e9\U0001F600""#, .string("a\tb\"\\é😀")), (#"'C:\path'"#, .string(#"C:\path"#)), (#""""#, .string("")),
      ("''", .string("")), ("\"\"\"\na\\\n   b\nc\"\"\"", .string("ab\nc")), ("'''\r\nx\r\ny'''", .string("x\ny")),
      ("\"\"\"\"\"two\"\"\"\"\"", .string("\"\"two\"\"")), ("\"\"\"a\"\"\"\"", .string("a\"")), ("0", .integer(0)), ("-17", .integer(-17)), ("+1_000", .integer(1000)),
      ("0xFF", .integer(255)), ("0o17", .integer(15)), ("0b101", .integer(5)), ("9223372036854775807", .integer(.max)),
      ("-9223372036854775808", .integer(.min)), ("true", .boolean(true)), ("false", .boolean(false)), ("[]", .array([])),
      ("[ 1, # one\n 2\n,]", .array([.integer(1), .integer(2)])), ("1.5", .fraction("1.5")), ("-2e+3", .fraction("-2e+3")),
      ("nan", .fraction("nan")), ("2026-11-29", .date("2026-11-29")), ("07:32:00", .date("07:32:00")),
    ] { XCTAssertEqual(try value(text), expected, text) }
  }

  func testFaultsHaveLineAndColumn() {
    for (text, fault) in [
      ("k = 1\nk = 2\n", "line 2, column 1: the key k is there already, in line 1"),
      ("[a]\n\n[a]\n", "line 3, column 1: the table [a] is there already, in line 1"),
      ("k", "line 1, column 2: expected '=' after the key k, not the end of the file"),
      ("k = ", "line 1, column 5: expected a value, not the end of the file"),
      ("k = # x", "line 1, column 5: expected a value, not '#'"),
      ("é = 1", "line 1, column 1: expected a key, not a letter outside ASCII"),
      ("k = \"é\" x", "line 1, column 9: expected the end of the line, not 'x'"),
      ("k = yes", "line 1, column 5: yes is not a value: write a text in quotation marks, and true or false in small letters"),
      ("k = 012", "line 1, column 5: 012 is not a value: write a text in quotation marks, and true or false in small letters"),
      ("k = 9223372036854775808", "line 1, column 5: 9223372036854775808 is too large"),
      ("k = \"a\nb\"", "line 1, column 5: the string has no quotation mark at its end"),
      ("\nk = [1,\n2", "line 2, column 5: the array has no ']' at its end"),
      ("k = [1 2]", "line 1, column 8: expected ',' or ']' in an array, not '2'"),
      ("k = [[1]]", "line 1, column 6: an array holds no arrays and no tables"),
      ("k = {a = 1}", "line 1, column 5: there are no tables in braces: write a header [table.name]"),
      ("a.b = 1", "line 1, column 2: there are no keys with dots: write a header [table.name], and the key in a line after it"),
      ("[[a]]", "line 1, column 2: there are no arrays of tables: write one header [table.name] for each table"),
      ("[a", "line 1, column 3: expected ']' after the name of a table, not the end of the file"),
      ("[]", "line 1, column 2: expected the name of a table, not ']'"),
      ("k = \"\\x\"", "line 1, column 6: a backslash before 'x': write \\\\ for a backslash, or the string in apostrophes"),
      ("k = \"\\ud800\"", "line 1, column 6: expected 4 hexadecimal digits of a Unicode character"),
      ("k = 1\rl = 2", "line 1, column 6: a carriage return without a line feed"),
      ("# \u{0}", "line 1, column 3: a control character in a comment"),
      ("k = \"\u{7}\"", "line 1, column 6: a control character in a string: write it as \\u and four digits"),
    ] {
      XCTAssertThrowsError(try read(text), text) { XCTAssertEqual("\($0)", fault, text) }
    }
    XCTAssertThrowsError(try TOMLDocument(parsing: [0x61, 0x0A, 0xC3, 0xA9, 0xFF])) {
      XCTAssertEqual("\($0)", "line 2, column 2: an octet that is not UTF-8")
    }
  }

  /// Octets at random, and pieces of files at random: each text is read or refused, with a place inside it.
  func testNoOctetsEndTheReader() {
    var random = SplitMix(state: 20_261_129)
    let pieces = [
      "[", "]", "=", ".", ",", "#", "\"", "'", "\"\"\"", "'''", "\\", "\\u00", "\\U0010FFFF", "\n", "\r\n", "\r", " ", "\t", "{", "}", "key", "listen",
      "[listener.mx]\n", "a = 1\n", "a = \"b\"\n", "0x", "-", "_", "1e", "2026-01-01", "true", "é", "\u{0}", "\u{FEFF}",
    ].map { Array($0.utf8) }
    for _ in 0..<10_000 {
      var octets: [UInt8] = []
      for _ in 0..<Int.random(in: 0..<24, using: &random) {
        octets += Bool.random(using: &random) ? pieces.randomElement(using: &random)! : [UInt8.random(in: 0...255, using: &random)]
      }
      do throws(TOMLError) {
        _ = try TOMLDocument(parsing: octets)
      } catch {
        let lines = octets.split(separator: 10, omittingEmptySubsequences: false)
        guard (1...lines.count).contains(error.position.line), (1...lines[error.position.line - 1].count + 1).contains(error.position.column)
        else { return XCTFail("\(error) for \(octets)") }
      }
    }
  }

  /// Much in one line, or in one table: the time grows with the size alone.
  func testLargeTextsTakeNoLonger() throws {
    let array = "k = [" + String(repeating: "\"x\",", count: 50_000) + "]"
    guard case .array(let elements) = try XCTUnwrap(read(array).tables[0]["k"]).value else { return XCTFail("no array") }
    XCTAssertEqual(elements.count, 50_000)
    XCTAssertThrowsError(try read("k = " + String(repeating: "[", count: 200_000)))
    XCTAssertEqual(try read((0..<10_000).map { "key\($0) = 1\n" }.joined()).tables[0].entries.count, 10_000)
  }
}
