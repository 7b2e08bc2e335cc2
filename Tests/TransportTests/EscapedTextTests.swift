// What is not printable ASCII cannot reach a log as it is.

import Transport
import XCTest

final class EscapedTextTests: XCTestCase {
  func testEveryOctet() {
    for octet in UInt8.min...UInt8.max {
      var text: [UInt8] = []
      EscapedText.append([octet], to: &text)
      let digits = String(octet, radix: 16, uppercase: true)
      let escape = "\\x" + (digits.count == 1 ? "0" : "") + digits
      let isPrintable = (0x20...0x7e).contains(octet)
      XCTAssertEqual(String(decoding: text, as: UTF8.self), isPrintable ? String(Unicode.Scalar(octet)) : escape)
    }
  }

  func testWhatIsSpecialIsEscapedToo() {
    var text = Array("=".utf8)
    EscapedText.append("a\"\\b\r\n".utf8, to: &text) { $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "\\") }
    XCTAssertEqual(String(decoding: text, as: UTF8.self), "=a\\x22\\x5Cb\\x0D\\x0A")
  }

  /// Octets in one piece, with and without something to escape, give what they give one by one.
  func testOnePieceAndSinglesAreEqual() {
    for octet in UInt8.min...UInt8.max {
      for octets in [Array("ab".utf8), Array("ab".utf8) + [octet] + Array("\"z".utf8), [octet], []] {
        var (piece, singles) = ([UInt8](), [UInt8]())
        EscapedText.append(octets, to: &piece) { $0 == UInt8(ascii: "\"") }
        EscapedText.append(AnySequence(octets), to: &singles) { $0 == UInt8(ascii: "\"") }
        if piece != singles { return XCTFail("\(octets): \(piece), \(singles)") }
      }
    }
  }

  /// The octets of a field in a line are those of its text, escaped.
  func testFieldsInALine() {
    let fields = [
      LogField("peer", .word("192.0.2.1:25")), LogField("word", .word("a\nb\u{e4}")), LogField("helo", escaping: "a\"\\b\r\n\u{1b}".utf8),
      LogField("in", .number(-12)), LogField("total", .milliseconds(1_000_000)), LogField("empty", .text("")),
    ]
    for field in fields {
      var (line, text) = (Array("x".utf8), Array("x".utf8))
      field.appendLogfmt(to: &line)
      EscapedText.append(" \(field.logfmt)".utf8, to: &text)
      XCTAssertEqual(String(decoding: line, as: UTF8.self), String(decoding: text, as: UTF8.self))
    }
  }
}
