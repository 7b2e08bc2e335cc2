// ConfigurationText: settings as the text of a configuration file.

import TOMLText

enum ConfigurationText {
  /// A file with all keys. What has a default is set to it, and the rest is a comment.
  static var defaults: [String] {
    var lines = [
      "# All keys of a configuration file of starttlsd, with their defaults; see starttlsd.conf(5).",
      "# A key before the first table counts for all listeners; in a table, for that listener.",
    ]
    for key in ConfigurationKey.all where !key.isOfListener {
      lines += ["", "# \(key.meaning)", line(key)]
    }
    lines += ["", "[listener.main]"]
    for key in ConfigurationKey.all where key.isOfListener {
      lines += ["", "# \(key.meaning)"]
      lines.append(key.name == "listen" ? "\(key.name) = \(text(strings: StartTLSDaemon.defaultAddresses))" : line(key))
    }
    return lines
  }

  /// What counts for a listener, as a table.
  static func effective(_ listener: ConfigurationReading.FileListener) -> [String] {
    let values = Dictionary(uniqueKeysWithValues: listener.entries.map { ($0.key, $0.entry.value) })
    return ["[listener.\(listener.settings.name)]"]
      + ConfigurationKey.all.compactMap { key in
        if let value = values[key] { return "\(key.name) = \(text(value))" }
        return value(ofDefault: key).map { "\(key.name) = \($0) # default" }
      }
  }

  /// A key with its default, or a comment with what its value stands for.
  private static func line(_ key: ConfigurationKey) -> String {
    if let value = value(ofDefault: key) { return "\(key.name) = \(value)" }
    let example = key.kind == .integer ? key.valueName.uppercased() : text(.string(key.valueName))
    return "# \(key.name) = \(key.isRepeating || key.kind == .program ? "[\(example)]" : example)"
  }

  /// nil without a default.
  private static func value(ofDefault key: ConfigurationKey) -> String? {
    if key.kind == .flag { return "false" }
    guard let known = key.defaultText else { return nil }
    return key.kind == .string || key.kind == .workers && Int(known) == nil ? text(.string(known)) : known
  }

  private static func text(strings: [String]) -> String { text(.array(strings.map { .string($0) })) }

  private static func text(_ value: TOMLValue) -> String {
    switch value {
    case .string(let string): quoted(string)
    case .integer(let number): "\(number)"
    case .boolean(let isTrue): "\(isTrue)"
    case .fraction(let word), .date(let word): word
    case .array(let elements): "[" + elements.map { text($0) }.joined(separator: ", ") + "]"
    }
  }

  /// A string in quotation marks, in one line.
  private static func quoted(_ string: String) -> String {
    var text = "\""
    for scalar in string.unicodeScalars {
      switch scalar {
      case "\"", "\\": text += "\\\(scalar)"
      case "\n": text += "\\n"
      case "\t": text += "\\t"
      default:
        if scalar.value < 0x20 || (0x7F..<0xA0).contains(scalar.value) {
          let digits = String(scalar.value, radix: 16, uppercase: true)
          text += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
        } else {
          text.unicodeScalars.append(scalar)
        }
      }
    }
    return text + "\""
  }
}
