// OctetLine: octets as lines of text, in the notation of Fixtures/transcripts.
//
// Printable ASCII stands for itself. `\r \n \t \0 \\` are as in C, `\xHH` is any octet, `\{x 300}` is 300 times `x`. A line that
// ends with CRLF shows neither; any other one ends with a single `\`.
//
// Failure: text that cannot be read is an error. A repetition has a limit, because a recording may come from a stranger.

package enum OctetLine {
  package struct Malformed: Error, Hashable {
    package let description: String
  }

  /// The longest line that a repetition may produce.
  private static let limit = 1 << 20
  /// Runs of one octet that are at least this long are written as a repetition.
  private static let run = 40

  package static func encoded(_ octets: some Collection<UInt8>) -> String {
    var text = ""
    var rest = Array(octets)[...]
    while let octet = rest.first {
      let count = rest.prefix { $0 == octet }.count
      if count > run {
        // A brace would end the repetition.
        text += "\\{\(octet == UInt8(ascii: "}") ? "\\x7d" : one(octet)) \(count)}"
        rest = rest.dropFirst(count)
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
    case 0x0D: "\\r"
    case 0x0A: "\\n"
    case 0x09: "\\t"
    case 0x00: "\\0"
    case UInt8(ascii: "\\"): "\\\\"
    case 0x20...0x7E: String(UnicodeScalar(octet))
    default: "\\x" + (octet < 16 ? "0" : "") + String(octet, radix: 16)
    }
  }

  /// The lines of some octets, each after a prefix.
  package static func lines(_ octets: some Collection<UInt8>, prefix: String) -> [String] {
    var lines: [String] = []
    var rest = Array(octets)[...]
    while !rest.isEmpty {
      let end = rest.firstIndex(of: 0x0A).map { $0 + 1 } ?? rest.endIndex
      let line = rest[..<end]
      rest = rest[end...]
      let isComplete = line.suffix(2).elementsEqual([0x0D, 0x0A])
      let text = isComplete ? encoded(line.dropLast(2)) : encoded(line) + "\\"
      lines.append(text.isEmpty ? prefix : "\(prefix) \(text)")
    }
    return lines
  }

  /// The octets of one such line without its prefix.
  package static func octets(_ text: some StringProtocol) throws(Malformed) -> [UInt8] {
    // A single \ at the end, which belongs to no escape.
    let slashes = text.utf8.reversed().prefix { $0 == UInt8(ascii: "\\") }.count
    return slashes % 2 == 1 ? try decoded(text.dropLast()) : try decoded(text) + [0x0D, 0x0A]
  }

  package static func decoded(_ text: some StringProtocol) throws(Malformed) -> [UInt8] {
    var octets: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let octet = rest.popFirst() {
      if octet == UInt8(ascii: "\\") { octets += try escape(&rest) } else { octets.append(octet) }
      guard octets.count <= limit else { throw Malformed(description: "a line has more than \(limit) octets") }
    }
    return octets
  }

  private static func escape(_ rest: inout ArraySlice<UInt8>) throws(Malformed) -> [UInt8] {
    guard let letter = rest.popFirst() else { throw Malformed(description: "nothing follows the last \\") }
    switch letter {
    case UInt8(ascii: "r"): return [0x0D]
    case UInt8(ascii: "n"): return [0x0A]
    case UInt8(ascii: "t"): return [0x09]
    case UInt8(ascii: "0"): return [0x00]
    case UInt8(ascii: "\\"): return [UInt8(ascii: "\\")]
    case UInt8(ascii: "x"):
      guard rest.count >= 2, rest.first != UInt8(ascii: "+"),
        let octet = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
      else { throw Malformed(description: "\\x needs two hexadecimal digits") }
      rest = rest.dropFirst(2)
      return [octet]
    case UInt8(ascii: "{"):
      guard let end = rest.firstIndex(of: UInt8(ascii: "}")), let blank = rest[..<end].lastIndex(of: 0x20),
        let times = Int(String(decoding: rest[(blank + 1)..<end], as: UTF8.self)), (0...limit).contains(times)
      else { throw Malformed(description: "\\{ needs an octet, a blank, a number up to \(limit), and }") }
      let unit = try decoded(String(decoding: rest[..<blank], as: UTF8.self))
      guard unit.count == 1 else { throw Malformed(description: "\\{ repeats one octet") }
      rest = rest[(end + 1)...]
      return [UInt8](repeating: unit[0], count: times)
    default:
      throw Malformed(description: "\\ is followed by none of r n t 0 \\ x {")
    }
  }
}
