// JSONText: writes JSON (RFC 8259) for the log and the status. Only printable ASCII comes out.

import Transport

enum JSONText {
  /// A string with its quotation marks.
  static func string(_ text: String) -> String {
    var json = "\""
    for unit in text.utf16 {
      switch unit {
      case 0x22: json += "\\\""
      case 0x5C: json += "\\\\"
      case 0x20...0x7E: json.unicodeScalars.append(Unicode.Scalar(UInt8(unit)))
      default:
        let digits = String(unit, radix: 16)
        json += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
      }
    }
    return json + "\""
  }

  /// An object whose values are JSON already.
  static func object(_ members: [(name: String, value: String)]) -> String {
    "{" + members.map { "\(string($0.name)):\($0.value)" }.joined(separator: ",") + "}"
  }

  static func array(_ values: [String]) -> String {
    "[" + values.joined(separator: ",") + "]"
  }
}

extension LogField {
  /// Name and value as a member of an object. Numbers and milliseconds are numbers; a text has the same escapes as in
  /// logfmt.
  var jsonMember: (name: String, value: String) {
    switch value {
    case .word(let text), .text(let text): (name, JSONText.string(text))
    case .number(let number), .milliseconds(let number): (name, "\(number)")
    }
  }
}
