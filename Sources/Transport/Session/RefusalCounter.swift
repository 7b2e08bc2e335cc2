// RefusalCounter: counts replies with the code 535 in what a server sends while its octets are copied.
//
// 535 is the reply to an AUTH command with wrong credentials (RFC 4954, 6). A server sends nothing but replies, also during
// DATA, so each line of it that begins with `535 ` is one; a reply of several lines has one such line, its last.
//
// The octets may be divided anywhere. No octet is kept, and each chunk is searched for its line ends once.

import Glibc

struct RefusalCounter {
  private static let code: StaticString = "535 "

  /// How many octets of the code the current line has matched; nil in the rest of a line.
  private var matched: Int? = 0

  /// The server has sent octets, in order, without a gap.
  ///
  /// - Returns: how many refusals are in them.
  mutating func received(_ octets: UnsafeRawBufferPointer) -> Int {
    var count = 0
    var rest = octets
    while let first = rest.first {
      guard let position = matched else {
        guard let start = rest.baseAddress, let end = memchr(start, 0x0A, rest.count) else { return count }
        rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(UnsafeRawPointer(end) - start + 1))
        matched = 0
        continue
      }
      if first != RefusalCounter.code.utf8Start[position] {
        // An empty line ends here.
        matched = first == 0x0A ? 0 : nil
      } else if position + 1 < RefusalCounter.code.utf8CodeUnitCount {
        matched = position + 1
      } else {
        count += 1
        matched = nil
      }
      rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst())
    }
    return count
  }
}
