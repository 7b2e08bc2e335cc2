// PlainText: text from elsewhere, made safe for a header line or a log line.
//
// Peers and the environment are not trusted. Nothing of theirs reaches a file or the log but visible ASCII, bounded in
// length: no line end, no control character, no octet that a terminal could act upon.

/// Ways to make text harmless.
enum PlainText {
  /// The longest text that a header line takes from elsewhere.
  static let limit = 255

  /// `octets` with everything but letters, digits and `-._:+/[]` replaced by `?`: one word that neither opens a comment
  /// nor ends a clause in a Received line.
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

  /// `text` with everything but visible ASCII and the space, and the backslash itself, written as `\xHH`.
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

  /// `value` in small hexadecimal digits, with zeros in front up to `digits`.
  static func hexadecimal(_ value: UInt64, digits: Int) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
  }
}
