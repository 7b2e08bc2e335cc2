// Notation: octets as one line of text that a person can read and write.
//
// Printable ASCII stands for itself. `\r \n \t \0 \\` are what they are in C, `\xHH` is any octet, and `\{x 300}` is the
// text before the blank, 300 times.

package enum Notation {
  package struct Malformed: Error {
    package let message: String

    package init(message: String) { self.message = message }
  }

  package static func decoded(_ text: some StringProtocol) throws(Malformed) -> [UInt8] {
    var octets: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let octet = rest.popFirst() {
      if octet == UInt8(ascii: "\\") { octets += try escape(&rest) } else { octets.append(octet) }
    }
    return octets
  }

  private static func escape(_ rest: inout ArraySlice<UInt8>) throws(Malformed) -> [UInt8] {
    guard let letter = rest.popFirst() else { throw Malformed(message: "nothing after the last \\") }
    switch letter {
    case UInt8(ascii: "r"): return [0x0D]
    case UInt8(ascii: "n"): return [0x0A]
    case UInt8(ascii: "t"): return [0x09]
    case UInt8(ascii: "0"): return [0x00]
    case UInt8(ascii: "\\"): return [UInt8(ascii: "\\")]
    case UInt8(ascii: "x"):
      guard let octet = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16), rest.count >= 2 else {
        throw Malformed(message: "\\x wants two hexadecimal digits")
      }
      rest = rest.dropFirst(2)
      return [octet]
    case UInt8(ascii: "{"):
      guard let end = rest.firstIndex(of: UInt8(ascii: "}")),
        let blank = rest[..<end].lastIndex(of: UInt8(ascii: " ")),
        let times = Int(String(decoding: rest[(blank + 1)..<end], as: UTF8.self)), times >= 0
      else {
        throw Malformed(message: "\\{ wants a text, a blank, a number and }")
      }
      let unit = try decoded(String(decoding: rest[..<blank], as: UTF8.self))
      rest = rest[(end + 1)...]
      return Array(repeatElement(unit, count: times).joined())
    default:
      throw Malformed(message: "\\ before an octet that is not r, n, t, 0, \\, x or {")
    }
  }

  package static func encoded(_ octets: some Collection<UInt8>) -> String {
    var text = ""
    var rest = Array(octets)[...]
    while let octet = rest.first {
      let run = rest.prefix { $0 == octet }.count
      if run > 40 {
        // A brace would end what it stands in.
        text += "\\{\(octet == UInt8(ascii: "}") ? "\\x7d" : one(octet)) \(run)}"
        rest = rest.dropFirst(run)
      } else {
        rest = rest.dropFirst()
        // A blank at the end of a line would be lost in many an editor.
        text += octet == 0x20 && rest.isEmpty ? "\\x20" : one(octet)
      }
    }
    return text
  }

  private static func one(_ octet: UInt8) -> String {
    switch octet {
    case 0x0D: return "\\r"
    case 0x0A: return "\\n"
    case 0x09: return "\\t"
    case 0x00: return "\\0"
    case UInt8(ascii: "\\"): return "\\\\"
    case 0x20...0x7E: return String(UnicodeScalar(octet))
    default: return "\\x" + (octet < 16 ? "0" : "") + String(octet, radix: 16)
    }
  }

  /// Octets as lines under a prefix: a line that ends with CRLF shows neither, any other ends with a single `\`.
  package static func lines(_ octets: [UInt8], prefix: String) -> [String] {
    var lines: [String] = []
    var rest = octets[...]
    while !rest.isEmpty {
      let end = rest.firstIndex(of: 0x0A).map { $0 + 1 } ?? rest.endIndex
      let line = Array(rest[..<end])
      rest = rest[end...]
      let isWhole = line.suffix(2) == [0x0D, 0x0A]
      let text = isWhole ? encoded(line.dropLast(2)) : encoded(line) + "\\"
      lines.append(text.isEmpty ? prefix : "\(prefix) \(text)")
    }
    return lines
  }

  /// The octets of one such line, its prefix taken off.
  package static func line(_ text: some StringProtocol) throws(Malformed) -> [UInt8] {
    // A single \ at the end, which no escape owns.
    let slashes = text.reversed().prefix { $0 == "\\" }.count
    return slashes % 2 == 1 ? try decoded(text.dropLast()) : try decoded(text) + [0x0D, 0x0A]
  }
}
