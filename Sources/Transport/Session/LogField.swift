// LogField: one name and value of a log line, in the format logfmt.
//
// A value that a peer chose is a `text`: it is escaped when the field is made, so that every format writes the same
// value, and none can contain a line end or a control sequence.

/// A field of a log line.
package struct LogField: Hashable, Sendable {
  /// The kinds of values.
  package enum Value: Hashable, Sendable {
    /// Printable, without blanks and quotation marks: it is not quoted.
    case word(String)
    /// Quoted. Already escaped: printable ASCII without `"`, and with `\` only in `\xNN`.
    case text(String)
    case number(Int)
    /// Written with the unit `ms`.
    case milliseconds(Int)
  }

  package let name: String
  package let value: Value

  package init(_ name: String, _ value: Value) {
    self.name = name
    self.value = value
  }

  /// A field whose value is text of any origin. `"`, `\` and octets that are not printable ASCII become `\xNN`.
  package init(_ name: String, escaping octets: some Sequence<UInt8>) {
    var text: [UInt8] = []
    EscapedText.append(octets, to: &text) { $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "\\") }
    self.init(name, .text(String(decoding: text, as: UTF8.self)))
  }

  /// `name=value`.
  package var logfmt: String {
    switch value {
    case .word(let word): "\(name)=\(word)"
    case .text(let text): "\(name)=\"\(text)\""
    case .number(let number): "\(name)=\(number)"
    case .milliseconds(let time): "\(name)=\(time)ms"
    }
  }

  /// Appends a blank and `name=value`. Octets that are not printable ASCII are escaped.
  package func appendLogfmt(to line: inout [UInt8]) {
    line.append(UInt8(ascii: " "))
    EscapedText.append(name.utf8, to: &line)
    line.append(UInt8(ascii: "="))
    switch value {
    case .word(let word): EscapedText.append(word.utf8, to: &line)
    case .text(let text):
      line.append(UInt8(ascii: "\""))
      EscapedText.append(text.utf8, to: &line)
      line.append(UInt8(ascii: "\""))
    case .number(let number): line.append(contentsOf: String(number).utf8)
    case .milliseconds(let time):
      line.append(contentsOf: String(time).utf8)
      line.append(UInt8(ascii: "m"))
      line.append(UInt8(ascii: "s"))
    }
  }
}
