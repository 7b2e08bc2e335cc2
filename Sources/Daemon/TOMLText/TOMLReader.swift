// TOMLReader: reads a text line by line: headers, keys, comments.
//
// It has one position, and never looks back. Its memory is the document that it makes; nothing recurses, since arrays hold no
// arrays. It never traps, whatever the octets are.

/// A reader at a place of a text.
struct TOMLReader {
  let octets: [UInt8]
  var index = 0
  var line = 1
  /// Where the line begins.
  var lineStart = 0

  private var document = TOMLDocument(tables: [TOMLTable(path: [], position: TOMLPosition(line: 1, column: 1))])
  /// The line of the header of each table.
  private var headers: [[String]: Int] = [:]
  /// The line of each key of the last table.
  private var keys: [String: Int] = [:]

  init(_ octets: [UInt8]) {
    self.octets = octets
    // A mark of the encoding.
    if octets.starts(with: [0xEF, 0xBB, 0xBF]) {
      index = 3
      lineStart = 3
    }
  }

  mutating func read() throws(TOMLError) -> TOMLDocument {
    try checkEncoding()
    while true {
      skipBlanks()
      switch current {
      case nil: return document
      case UInt8(ascii: "\n"), UInt8(ascii: "\r"), UInt8(ascii: "#"): break
      case UInt8(ascii: "["): try readHeader()
      default: try readEntry()
      }
      try endLine()
    }
  }

  // MARK: Lines

  private mutating func readHeader() throws(TOMLError) {
    let start = position
    index += 1
    if current == UInt8(ascii: "[") { throw error("there are no arrays of tables: write one header [table.name] for each table") }
    var path: [String] = []
    repeat {
      if !path.isEmpty { index += 1 }
      skipBlanks()
      path.append(try readKey("the name of a table"))
      skipBlanks()
    } while current == UInt8(ascii: ".")
    guard current == UInt8(ascii: "]") else { throw error("expected ']' after the name of a table, not \(currentText)") }
    index += 1
    if let first = headers.updateValue(start.line, forKey: path) {
      throw TOMLError(position: start, text: "the table [\(path.joined(separator: "."))] is there already, in line \(first)")
    }
    keys = [:]
    document.tables.append(TOMLTable(path: path, position: start))
  }

  private mutating func readEntry() throws(TOMLError) {
    let start = position
    let key = try readKey("a key")
    skipBlanks()
    if current == UInt8(ascii: ".") { throw error("there are no keys with dots: write a header [table.name], and the key in a line after it") }
    guard current == UInt8(ascii: "=") else { throw error("expected '=' after the key \(key), not \(currentText)") }
    index += 1
    skipBlanks()
    let value = try readValue()
    if let first = keys.updateValue(start.line, forKey: key) {
      throw TOMLError(position: start, text: "the key \(key) is there already, in line \(first)")
    }
    document.tables[document.tables.count - 1].entries.append(TOMLEntry(key: key, position: start, value: value))
  }

  /// A name without quotation marks, or a string of one line.
  private mutating func readKey(_ what: String) throws(TOMLError) -> String {
    if current == UInt8(ascii: "\"") || current == UInt8(ascii: "'") {
      let start = place
      let key = try readString()
      guard line == start.line else { throw TOMLError(position: position(of: start), text: "\(what) must be in one line") }
      return key
    }
    let start = index
    while let octet = current, TOMLReader.isBare(octet) { index += 1 }
    guard index > start else { throw error("expected \(what), not \(currentText)") }
    return String(decoding: octets[start..<index], as: UTF8.self)
  }

  /// The rest of a line: blanks and a comment.
  private mutating func endLine() throws(TOMLError) {
    skipBlanks()
    if current == UInt8(ascii: "#") { try skipComment() }
    guard current != nil else { return }
    guard try takeNewline() else { throw error("expected the end of the line, not \(currentText)") }
  }

  // MARK: Octets

  var current: UInt8? { index < octets.count ? octets[index] : nil }

  /// A place whose column is not counted yet: that takes as long as the line.
  struct Place {
    let line: Int
    let lineStart: Int
    let index: Int
  }

  var place: Place { Place(line: line, lineStart: lineStart, index: index) }

  var position: TOMLPosition { position(of: place) }

  func position(of place: Place) -> TOMLPosition {
    // Octets that continue a character do not count.
    TOMLPosition(line: place.line, column: 1 + octets[place.lineStart..<min(place.index, octets.count)].count { $0 & 0xC0 != 0x80 })
  }

  func error(_ text: String) -> TOMLError { TOMLError(position: position, text: text) }

  /// What is at this place, for messages.
  var currentText: String {
    guard let first = current else { return "the end of the file" }
    switch first {
    case UInt8(ascii: "\n"), UInt8(ascii: "\r"): return "the end of the line"
    case 0x21...0x26, 0x28...0x7E: return "'\(Unicode.Scalar(first))'"
    case UInt8(ascii: "'"): return "an apostrophe"
    case 0x20, 0x09: return "a blank"
    case 0x80...: return "a letter outside ASCII"
    default: return "a control character"
    }
  }

  mutating func skipBlanks() {
    while current == 0x20 || current == 0x09 { index += 1 }
  }

  mutating func skipComment() throws(TOMLError) {
    while let octet = current, octet != UInt8(ascii: "\n") {
      if octet == UInt8(ascii: "\r"), isNewline { return }
      guard !TOMLReader.isControl(octet) else { throw error("a control character in a comment") }
      index += 1
    }
  }

  /// True at LF, and at CR before LF.
  private var isNewline: Bool {
    current == UInt8(ascii: "\n")
      || current == UInt8(ascii: "\r") && index + 1 < octets.count && octets[index + 1] == UInt8(ascii: "\n")
  }

  /// Takes the end of a line.
  ///
  /// - Returns: false if there is none here.
  mutating func takeNewline() throws(TOMLError) -> Bool {
    guard isNewline else {
      if current == UInt8(ascii: "\r") { throw error("a carriage return without a line feed") }
      return false
    }
    index += current == UInt8(ascii: "\r") ? 2 : 1
    line += 1
    lineStart = index
    return true
  }

  /// A letter, a digit, `_` or `-`.
  static func isBare(_ octet: UInt8) -> Bool {
    switch octet {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
      UInt8(ascii: "_"), UInt8(ascii: "-"):
      true
    default: false
    }
  }

  static func isControl(_ octet: UInt8) -> Bool { octet < 0x20 && octet != 0x09 || octet == 0x7F }

  /// All of it must be UTF-8: no string is changed by being read.
  private func checkEncoding() throws(TOMLError) {
    var rest = octets[...]
    var iterator = UTF8.ForwardParser()
    var source = rest.makeIterator()
    var valid = 0
    while true {
      switch iterator.parseScalar(from: &source) {
      case .valid(let scalar): valid += scalar.count
      case .emptyInput: return
      case .error:
        rest = octets[..<valid]
        let lines = rest.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        let column = 1 + (lines.last ?? []).count { $0 & 0xC0 != 0x80 }
        throw TOMLError(position: TOMLPosition(line: lines.count, column: column), text: "an octet that is not UTF-8")
      }
    }
  }
}

extension TOMLDocument {
  /// Reads a text.
  package init(parsing octets: [UInt8]) throws(TOMLError) {
    var reader = TOMLReader(octets)
    self = try reader.read()
  }
}
