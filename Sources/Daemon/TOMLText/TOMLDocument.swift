// TOMLDocument: the tables, keys and values of a TOML text, each with its place in the text.
//
// The part of TOML 1.0 that settings need: tables, keys without dots, strings of all four kinds, integers, booleans, and
// arrays of these. Tables within a line, arrays of tables and arrays of arrays are refused by name. Fractions and dates are
// read as what they are, so that the reader of the settings can say which type it expects.
//
// Failure: a TOMLError with the line and the column.

/// A place in a text; both numbers begin with 1, and columns count characters.
package struct TOMLPosition: Hashable, Sendable, CustomStringConvertible {
  package let line: Int
  package let column: Int

  package init(line: Int, column: Int) {
    self.line = line
    self.column = column
  }

  package var description: String { "line \(line), column \(column)" }
}

/// A text that is not TOML, or not the part of it that is read here.
package struct TOMLError: Error, Hashable, Sendable, CustomStringConvertible {
  package let position: TOMLPosition
  /// What is wrong there, for the operator.
  package let text: String

  package var description: String { "\(position): \(text)" }
}

/// A text as tables. The first one has the keys before any header.
package struct TOMLDocument: Hashable, Sendable {
  /// In the order of the text.
  package internal(set) var tables: [TOMLTable]
}

/// A table and its keys.
package struct TOMLTable: Hashable, Sendable {
  /// The parts of the name in the header: `listener` and `mx` for `[listener.mx]`; empty for the first table.
  package let path: [String]
  package let position: TOMLPosition
  package internal(set) var entries: [TOMLEntry] = []

  package subscript(key: String) -> TOMLEntry? { entries.first { $0.key == key } }
}

/// A key and its value.
package struct TOMLEntry: Hashable, Sendable {
  package let key: String
  package let position: TOMLPosition
  package let value: TOMLValue
}

/// A value.
package enum TOMLValue: Hashable, Sendable {
  case string(String)
  case integer(Int)
  case boolean(Bool)
  /// A number with a fraction or an exponent, infinity, or none (`nan`), as it was written.
  case fraction(String)
  /// A date or a time, as it was written.
  case date(String)
  /// No element is an array.
  case array([TOMLValue])

  /// The type with its article, for messages.
  package var kind: String {
    switch self {
    case .string: "a string"
    case .integer: "an integer"
    case .boolean: "true or false"
    case .fraction: "a number with a fraction"
    case .date: "a date or a time"
    case .array: "an array"
    }
  }
}
