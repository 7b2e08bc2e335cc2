// Transcript: what was sent and received in a check, for people. Escaped; of limited size.

package struct Transcript: Hashable, Sendable {
  package private(set) var lines: [String] = []
  private static let limit = 120
  private static let width = 160

  /// The argument of AUTH is not shown: it may be a password.
  mutating func sent(_ octets: [UInt8], _ isSecured: Bool) { add(octets, isSecured ? "C (TLS): " : "C: ", hidesLogins: true) }

  mutating func received(_ octets: [UInt8], _ isSecured: Bool) { add(octets, isSecured ? "S (TLS): " : "S: ") }

  mutating func note(_ text: String) { append("-- \(text)") }

  private mutating func add(_ octets: [UInt8], _ prefix: String, hidesLogins: Bool = false) {
    var rest = octets[...]
    while !rest.isEmpty {
      let end = rest.firstIndex(of: 0x0A).map { $0 + 1 } ?? rest.endIndex
      var line = rest[..<end]
      rest = rest[end...]
      if hidesLogins, String(decoding: line.prefix(5), as: UTF8.self).uppercased() == "AUTH " {
        line = Array("AUTH ***\r\n".utf8)[...]
      }
      let isComplete = line.suffix(2) == [0x0D, 0x0A]
      let shown = (isComplete ? line.dropLast(2) : line).prefix(Transcript.width)
      let more = line.count - shown.count - (isComplete ? 2 : 0)
      append(prefix + OctetText.encoded(shown) + (more > 0 ? "... (\(more) more octets)" : isComplete ? "" : "\\"))
      guard lines.count <= Transcript.limit else { return }
    }
  }

  private mutating func append(_ line: String) {
    if lines.count < Transcript.limit {
      lines.append(line)
    } else if lines.count == Transcript.limit {
      lines.append("-- more follows")
    }
  }
}
