// EscapedText: escapes arbitrary octets for a log.
//
// An octet that is not printable ASCII becomes `\xNN`, so that one line stays one line and sends no control sequence to
// a terminal. NN are two hexadecimal digits in upper case.

package enum EscapedText {
  private static let digits: StaticString = "0123456789ABCDEF"

  /// Appends octets and escapes them if necessary.
  ///
  /// - Parameter isSpecial: selects printable octets that are escaped too.
  package static func append(
    _ octets: some Sequence<UInt8>, to text: inout [UInt8], escaping isSpecial: (UInt8) -> Bool = { _ in false }
  ) {
    // Most texts have their octets in one piece, and nothing to escape: they are copied at once.
    let isAppended: Bool? = octets.withContiguousStorageIfAvailable { piece in
      guard piece.allSatisfy({ isPrintable($0) && !isSpecial($0) }) else { return false }
      text.append(contentsOf: piece)
      return true
    }
    if isAppended == true { return }
    for octet in octets {
      if isPrintable(octet), !isSpecial(octet) {
        text.append(octet)
      } else {
        text.append(UInt8(ascii: "\\"))
        text.append(UInt8(ascii: "x"))
        text.append(digits.utf8Start[Int(octet >> 4)])
        text.append(digits.utf8Start[Int(octet & 15)])
      }
    }
  }

  /// The text, escaped.
  package static func string(_ text: String) -> String {
    var octets: [UInt8] = []
    append(text.utf8, to: &octets)
    return String(decoding: octets, as: UTF8.self)
  }

  @inline(__always)
  private static func isPrintable(_ octet: UInt8) -> Bool { octet &- 0x20 <= 0x5e }
}
