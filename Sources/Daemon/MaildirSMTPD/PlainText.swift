// PlainText: sanitises external text for a header line or a log line.
//
// Peers and the environment are not trusted. Only visible ASCII of limited length from them reaches a file or the log:
// no line end, no control character, no octet that a terminal could interpret.

/// Functions that sanitise text.
enum PlainText {
  /// The maximum length of external text in a header line.
  static let limit = 255

  /// `octets` with everything except letters, digits and `-._:+/[]` replaced by `?`: one word that neither starts a
  /// comment nor ends a clause in a Received line.
  static func token(_ octets: some Sequence<UInt8>) -> String {
    var text = ""
    for octet in octets.prefix(limit) {
      let scalar = Unicode.Scalar(octet)
      switch scalar {
      case "-", ".", "_", ":", "+", "/", "[", "]": text.unicodeScalars.append(scalar)
      default: text.unicodeScalars.append(octet.isLetter || octet.isDigit ? scalar : "?")
      }
    }
    return text
  }

  /// `text` with the backslash, and everything except visible ASCII and the space, written as `\xHH`.
  static func escaped(_ text: String) -> String {
    var escaped = ""
    for octet in text.utf8 {
      if (octet.isVisible || octet == Octet.space) && octet != UInt8(ascii: "\\") {
        escaped.unicodeScalars.append(Unicode.Scalar(octet))
      } else {
        escaped += "\\x" + hexadecimal(UInt64(octet), digits: 2)
      }
    }
    return escaped
  }

  /// `value` in lower-case hexadecimal digits, with leading zeros up to `digits`.
  static func hexadecimal(_ value: UInt64, digits: Int) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
  }
}
