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
}
