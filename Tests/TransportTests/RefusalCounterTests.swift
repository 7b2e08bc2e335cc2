// The replies 535 are counted however the server's octets are divided.

@testable import Transport
import XCTest

final class RefusalCounterTests: XCTestCase {
  func testEveryDivision() {
    let cases: [(String, Int)] = [
      ("535 5.7.8 no\r\n", 1), ("535 no\n535 no\n535 \r\n535 ", 4), ("535-a\r\n535-b\r\n535 c\r\n", 1),
      ("250-535 a\r\n250 535 b\r\n", 0), ("5355 a\r\n53 5 a\r\n 535 a\r\n55535 a\r\n", 0), ("535\r\n535\n535 a\n", 1),
      ("\n\r\n535 a\r\n", 1), ("5\n53\n535\n535 a", 1), ("235 ok\r\n535 a\rb 535 c\r\n", 1), ("", 0),
    ]
    for (text, expected) in cases {
      let octets = Array(text.utf8)
      for size in 1...max(1, octets.count) {
        var counter = RefusalCounter()
        var count = 0
        for start in stride(from: 0, to: octets.count, by: size) {
          count += octets[start..<min(start + size, octets.count)].withUnsafeBytes { counter.received($0) }
        }
        XCTAssertEqual(count, expected, "\(text.debugDescription) in parts of \(size)")
      }
    }
  }
}
