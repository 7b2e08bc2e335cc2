// TLSRecords: what a server sent inside TLS, not deciphered.

import XCTest

/// Every octet belongs to a record of TLS 1.3, in which application data and alerts have the same type.
func assertOnlyRecords(_ raw: [UInt8], file: StaticString = #filePath, line: UInt = #line) {
  var index = 0
  while index + 5 <= raw.count {
    XCTAssertEqual(raw[index], 0x17, file: file, line: line)
    index += 5 + Int(raw[index + 3]) << 8 + Int(raw[index + 4])
  }
  XCTAssertEqual(index, raw.count, "something follows the last record", file: file, line: line)
}
