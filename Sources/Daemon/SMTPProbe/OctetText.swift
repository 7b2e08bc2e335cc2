// OctetText: octets as one line of text, in the notation of the transcripts.
//
// Printable ASCII stands for itself. `\r \n \t \0 \\` are as in C, `\xHH` is any octet, `\{x 300}` is 300 times `x`, and
// `\{name}` stands for a value of the run.

package enum OctetText {
  package struct Malformed: Error, Hashable {
    package let text: String
  }

  /// The longest line that a repetition may produce.
  private static let limit = 1 << 20

  package static func decoded(_ text: some StringProtocol) throws(Malformed) -> Template {
    var parts: [Template.Part] = []
    var octets: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let octet = rest.popFirst() {
      guard octet == UInt8(ascii: "\\") else {
        octets.append(octet)
        continue
      }
      guard let letter = rest.popFirst() else { throw Malformed(text: "nothing follows the last \\") }
      switch letter {
      case UInt8(ascii: "r"): octets.append(0x0D)
      case UInt8(ascii: "n"): octets.append(0x0A)
      case UInt8(ascii: "t"): octets.append(0x09)
      case UInt8(ascii: "0"): octets.append(0x00)
      case UInt8(ascii: "\\"): octets.append(UInt8(ascii: "\\"))
      case UInt8(ascii: "x"):
        guard rest.count >= 2, rest.first != UInt8(ascii: "+"), let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
        else {
          throw Malformed(text: "\\x needs two hexadecimal digits")
        }
        octets.append(value)
        rest = rest.dropFirst(2)
      case UInt8(ascii: "{"):
        switch try braces(&rest) {
        case .octets(let repeated): octets += repeated
        case let name:
          if !octets.isEmpty { parts.append(.octets(octets)) }
          octets = []
          parts.append(name)
        }
      default: throw Malformed(text: "\\ is followed by none of r n t 0 \\ x {")
      }
    }
    if !octets.isEmpty { parts.append(.octets(octets)) }
    return Template(parts: parts)
  }

  /// The rest of `\{x 300}` or `\{name}`.
  private static func braces(_ rest: inout ArraySlice<UInt8>) throws(Malformed) -> Template.Part {
    guard let end = rest.firstIndex(of: UInt8(ascii: "}")) else { throw Malformed(text: "\\{ without }") }
    let inside = String(decoding: rest[..<end], as: UTF8.self)
    rest = rest[(end + 1)...]
    guard let blank = inside.lastIndex(of: " ") else {
      guard SMTPProbe.Values.names.contains(inside) else {
        throw Malformed(text: "\\{\(inside)}: the names are \(SMTPProbe.Values.names.joined(separator: ", "))")
      }
      return .name(inside)
    }
    guard let times = Int(inside[inside.index(after: blank)...]), times >= 0 else {
      throw Malformed(text: "\\{\(inside)}: a number has to follow the blank")
    }
    guard case .octets(let unit)? = try decoded(inside[..<blank]).parts.first else {
      throw Malformed(text: "\\{\(inside)}: nothing to repeat")
    }
    guard times <= limit, unit.count * times <= limit else { throw Malformed(text: "\\{\(inside)}: more than \(limit) octets") }
    return .octets(Array(repeatElement(unit, count: times).joined()))
  }

  /// A line of a script: CRLF is added, unless the line ends with a `\` of its own.
  package static func line(_ text: some StringProtocol) throws(Malformed) -> Template {
    let slashes = text.utf8.reversed().prefix { $0 == UInt8(ascii: "\\") }.count
    guard slashes % 2 == 0 else { return try decoded(text.dropLast()) }
    var template = try decoded(text)
    template.parts.append(.octets([0x0D, 0x0A]))
    return template
  }

  /// Octets as printable ASCII.
  package static func encoded(_ octets: some Collection<UInt8>) -> String {
    var text = ""
    for octet in octets {
      switch octet {
      case 0x0D: text += "\\r"
      case 0x0A: text += "\\n"
      case 0x09: text += "\\t"
      case 0x00: text += "\\0"
      case UInt8(ascii: "\\"): text += "\\\\"
      case 0x20...0x7E: text.unicodeScalars.append(UnicodeScalar(octet))
      default: text += "\\x" + (octet < 16 ? "0" : "") + String(octet, radix: 16)
      }
    }
    return text
  }
}
