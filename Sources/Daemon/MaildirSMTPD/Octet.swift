// Octet: the octets that the protocol uses, and their classes.

/// Names of octets.
enum Octet {
  static let lineFeed: UInt8 = 0x0A
  static let carriageReturn: UInt8 = 0x0D
  static let tab: UInt8 = 0x09
  static let space: UInt8 = 0x20
  static let dot = UInt8(ascii: ".")
}

extension UInt8 {
  var isDigit: Bool { UInt8(ascii: "0") <= self && self <= UInt8(ascii: "9") }

  var isLetter: Bool {
    let small = self | 0x20
    return UInt8(ascii: "a") <= small && small <= UInt8(ascii: "z")
  }

  /// A visible ASCII character: no blank, no control character, no octet above 0x7E.
  var isVisible: Bool { 0x21 <= self && self <= 0x7E }
}
