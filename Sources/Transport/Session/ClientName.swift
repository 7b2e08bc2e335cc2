// ClientName: the name that a client gives in EHLO, HELO or LHLO, as far as it may be written to a log or a recording.
//
// One word with the form of a domain or an address literal is kept (RFC 5321, 4.1.1.1). Anything else may be text that was sent at the
// wrong time, such as a password, and nothing of it is kept.

package enum ClientName {
  /// The most octets of a name that are kept: those of a domain (RFC 5321, 4.5.3.1.2).
  private static let limit = 255

  /// True for an octet of a domain or an address literal.
  package static func contains(_ octet: UInt8) -> Bool {
    switch octet {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"),
      UInt8(ascii: "."), UInt8(ascii: "["), UInt8(ascii: "]"), UInt8(ascii: ":"), UInt8(ascii: "_"):
      true
    default: false
    }
  }

  /// The name in a line of EHLO, HELO or LHLO, with its line end or without; empty if it is not kept.
  static func read(_ line: Span<UInt8>) -> [UInt8] {
    var words = 0
    var isInWord = false
    var name: [UInt8] = []
    for index in line.indices {
      let octet = line[index]
      guard octet != 0x20, octet != 0x09, octet != 0x0D, octet != 0x0A else {
        isInWord = false
        continue
      }
      if !isInWord { words += 1 }
      isInWord = true
      if words == 1 { continue }
      guard words == 2, contains(octet), name.count < limit else { return [] }
      name.append(octet)
    }
    return name
  }
}
