// Values: strings, arrays, and the words that are numbers, dates, true and false.

extension TOMLReader {
  mutating func readValue() throws(TOMLError) -> TOMLValue {
    switch current {
    case UInt8(ascii: "["): try readArray()
    case UInt8(ascii: "{"): throw error("there are no tables in braces: write a header [table.name]")
    default: try readScalar()
    }
  }

  /// An array, which may have several lines and comments.
  private mutating func readArray() throws(TOMLError) -> TOMLValue {
    let start = place
    var elements: [TOMLValue] = []
    index += 1
    while true {
      try skipLines(start)
      if current == UInt8(ascii: "]") { break }
      guard current != UInt8(ascii: "["), current != UInt8(ascii: "{") else { throw error("an array holds no arrays and no tables") }
      elements.append(try readScalar())
      try skipLines(start)
      if current == UInt8(ascii: "]") { break }
      guard current == UInt8(ascii: ",") else { throw error("expected ',' or ']' in an array, not \(currentText)") }
      index += 1
    }
    index += 1
    return .array(elements)
  }

  /// Blanks, comments and ends of lines within an array.
  private mutating func skipLines(_ start: Place) throws(TOMLError) {
    repeat {
      skipBlanks()
      if current == UInt8(ascii: "#") { try skipComment() }
    } while try takeNewline()
    if current == nil { throw TOMLError(position: position(of: start), text: "the array has no ']' at its end") }
  }

  private mutating func readScalar() throws(TOMLError) -> TOMLValue {
    switch current {
    case UInt8(ascii: "\""), UInt8(ascii: "'"): return .string(try readString())
    case nil, UInt8(ascii: "\n"), UInt8(ascii: "\r"), UInt8(ascii: "#"), UInt8(ascii: ","), UInt8(ascii: "]"):
      throw error("expected a value, not \(currentText)")
    default: break
    }
    let start = place
    let from = index
    while let octet = current, TOMLReader.isBare(octet) || [UInt8(ascii: "+"), UInt8(ascii: "."), UInt8(ascii: ":")].contains(octet) {
      index += 1
    }
    guard index > from else { throw error("expected a value, not \(currentText)") }
    let word = String(decoding: octets[from..<index], as: UTF8.self)
    guard let value = TOMLWord.value(word) else {
      throw TOMLError(position: position(of: start), text: "\(word) is not a value: write a text in quotation marks, and true or false in small letters")
    }
    guard let value = value else { throw TOMLError(position: position(of: start), text: "\(word) is too large") }
    return value
  }

  // MARK: Strings

  /// A string in one of the four forms.
  mutating func readString() throws(TOMLError) -> String {
    let start = place
    let quote = octets[index]
    let isLiteral = quote == UInt8(ascii: "'")
    let isLong = octets[index...].prefix(3).elementsEqual([quote, quote, quote])
    index += isLong ? 3 : 1
    if isLong { _ = try takeNewline() }
    var text: [UInt8] = []
    while let octet = current {
      if octet == quote {
        if !isLong {
          index += 1
          return String(decoding: text, as: UTF8.self)
        }
        let count = octets[index...].prefix(5).prefix { $0 == quote }.count
        if count >= 3 {
          // Up to two marks before the last three belong to the string.
          text += [UInt8](repeating: quote, count: count - 3)
          index += count
          return String(decoding: text, as: UTF8.self)
        }
      }
      if octet == UInt8(ascii: "\\"), !isLiteral {
        try readEscape(into: &text, isLong: isLong)
      } else if octet == UInt8(ascii: "\n") || octet == UInt8(ascii: "\r") {
        guard isLong else { break }
        guard try takeNewline() else { break }
        text.append(UInt8(ascii: "\n"))
      } else {
        guard !TOMLReader.isControl(octet) else { throw error("a control character in a string: write it as \\u and four digits") }
        text.append(octet)
        index += 1
      }
    }
    throw TOMLError(position: position(of: start), text: "the string has no quotation mark at its end")
  }

  /// What follows a backslash.
  private mutating func readEscape(into text: inout [UInt8], isLong: Bool) throws(TOMLError) {
    let start = place
    index += 1
    let letter = current
    switch letter {
    case UInt8(ascii: "b"): text.append(0x08)
    case UInt8(ascii: "t"): text.append(0x09)
    case UInt8(ascii: "n"): text.append(0x0A)
    case UInt8(ascii: "f"): text.append(0x0C)
    case UInt8(ascii: "r"): text.append(0x0D)
    case UInt8(ascii: "\""), UInt8(ascii: "\\"): text.append(octets[index])
    case UInt8(ascii: "u"), UInt8(ascii: "U"):
      let count = letter == UInt8(ascii: "u") ? 4 : 8
      let digits = octets[min(index + 1, octets.count)..<min(index + 1 + count, octets.count)]
      guard digits.count == count, digits.allSatisfy({ TOMLWord.isHexadecimal($0) }),
        let scalar = UInt32(String(decoding: digits, as: UTF8.self), radix: 16).flatMap(Unicode.Scalar.init)
      else { throw TOMLError(position: position(of: start), text: "expected \(count) hexadecimal digits of a Unicode character") }
      text += Array(String(Character(scalar)).utf8)
      index += count
    default:
      guard isLong, try takeLineBreak() else {
        throw TOMLError(position: position(of: start), text: "a backslash before \(currentText): write \\\\ for a backslash, or the string in apostrophes")
      }
      return
    }
    index += 1
  }

  /// A backslash at the end of a line takes away all blanks and ends of lines that follow.
  private mutating func takeLineBreak() throws(TOMLError) -> Bool {
    skipBlanks()
    guard try takeNewline() else { return false }
    repeat { skipBlanks() } while try takeNewline()
    return true
  }
}

/// A value without quotation marks.
enum TOMLWord {
  /// - Returns: nil for a word that is no value; `.some(nil)` for an integer that has no place in 64 bits.
  static func value(_ word: String) -> TOMLValue?? {
    switch word {
    case "true": return .boolean(true)
    case "false": return .boolean(false)
    case "inf", "+inf", "-inf", "nan", "+nan", "-nan": return .fraction(word)
    default: break
    }
    if let digits = integer(word) { return .some(Int(digits.text, radix: digits.radix).map { .integer($0) }) }
    if isFraction(word) { return .fraction(word) }
    if isDate(word) { return .date(word) }
    return nil
  }

  static func isHexadecimal(_ octet: UInt8) -> Bool {
    switch octet {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"), UInt8(ascii: "A")...UInt8(ascii: "F"): true
    default: false
    }
  }

  /// The digits of an integer, with its sign; nil if it is none.
  private static func integer(_ word: String) -> (text: String, radix: Int)? {
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] where word.hasPrefix(prefix) {
      return digits(word.dropFirst(2), radix: radix).map { ($0, radix) }
    }
    let hasSign = word.hasPrefix("+") || word.hasPrefix("-")
    guard let digits = digits(word.dropFirst(hasSign ? 1 : 0), radix: 10), digits == "0" || !digits.hasPrefix("0") else { return nil }
    return ((word.hasPrefix("-") ? "-" : "") + digits, 10)
  }

  /// Digits without the underscores between them; nil if there is something else.
  private static func digits(_ text: Substring, radix: Int) -> String? {
    let parts = text.split(separator: "_", omittingEmptySubsequences: false)
    guard parts.allSatisfy({ !$0.isEmpty && $0.utf8.allSatisfy { isDigit($0, radix) } }) else { return nil }
    return parts.joined()
  }

  private static func isDigit(_ octet: UInt8, _ radix: Int) -> Bool {
    switch radix {
    case 16: isHexadecimal(octet)
    default: (UInt8(ascii: "0")..<(UInt8(ascii: "0") + UInt8(radix))).contains(octet)
    }
  }

  private static func isFraction(_ word: String) -> Bool {
    let unsigned = word.hasPrefix("+") || word.hasPrefix("-") ? word.dropFirst() : word[...]
    let halves = unsigned.split(maxSplits: 1, omittingEmptySubsequences: false) { $0 == "e" || $0 == "E" }
    let numbers = halves[0].split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
    guard halves.count + numbers.count > 2, numbers.allSatisfy({ digits($0, radix: 10) != nil }) else { return false }
    guard halves.count == 2 else { return true }
    let exponent = halves[1].hasPrefix("+") || halves[1].hasPrefix("-") ? halves[1].dropFirst() : halves[1]
    return digits(exponent, radix: 10) != nil
  }

  /// True for what begins as a date or a time does. It is refused in any case, so that the rest does not matter.
  private static func isDate(_ word: String) -> Bool {
    let octets = Array(word.utf8)
    func areDigits(_ range: Range<Int>) -> Bool { octets.count >= range.upperBound && octets[range].allSatisfy { isDigit($0, 10) } }
    return areDigits(0..<4) && octets.count >= 10 && octets[4] == UInt8(ascii: "-")
      || areDigits(0..<2) && octets.count >= 5 && octets[2] == UInt8(ascii: ":") && areDigits(3..<5)
  }
}
