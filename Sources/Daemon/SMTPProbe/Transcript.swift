// Transcript: what was sent and received in a check, for people. Escaped, without secrets; of limited size.

package struct Transcript: Hashable, Sendable {
  private static let limit = 120
  private static let width = 160
  /// A longer line is shown in parts.
  private static let longest = ReplyReader.lineLimit

  private let secrets: Secrets
  private var complete: [String] = []
  /// The beginning of a line of the server, whose rest may come with later octets.
  private var beginning: [UInt8] = []
  private var beginningPrefix = ""

  init(_ secrets: Secrets) { self.secrets = secrets }

  package var lines: [String] {
    var ended = self
    ended.endLine()
    return ended.complete
  }

  /// The argument of AUTH is not shown: it may be a password.
  mutating func sent(_ octets: [UInt8], _ isSecured: Bool) {
    endLine()
    add(octets, isSecured ? "C (TLS): " : "C: ", hidesLogins: true)
  }

  mutating func received(_ octets: [UInt8], _ isSecured: Bool) {
    let prefix = isSecured ? "S (TLS): " : "S: "
    if prefix != beginningPrefix { endLine() }
    beginningPrefix = prefix
    // A secret in two segments is a secret.
    let all = beginning + octets
    let end = all.lastIndex(of: 0x0A).map { $0 + 1 } ?? 0
    beginning = Array(all[end...])
    add(Array(all[..<end]), prefix)
    if beginning.count > Transcript.longest { endLine() }
  }

  mutating func note(_ text: String) {
    endLine()
    append("-- \(text)")
  }

  private mutating func endLine() {
    let octets = beginning
    beginning = []
    add(octets, beginningPrefix)
  }

  private mutating func add(_ octets: [UInt8], _ prefix: String, hidesLogins: Bool = false) {
    var rest = octets[...]
    while !rest.isEmpty {
      guard complete.count <= Transcript.limit else { return }
      let end = rest.firstIndex(of: 0x0A).map { $0 + 1 } ?? rest.endIndex
      var line = rest[..<end]
      rest = rest[end...]
      if hidesLogins, String(decoding: line.prefix(5), as: UTF8.self).uppercased() == "AUTH " {
        line = Array("AUTH ***\r\n".utf8)[...]
      }
      let isComplete = line.suffix(2) == [0x0D, 0x0A]
      let content = secrets.hidden(in: isComplete ? line.dropLast(2) : line)
      let shown = content.prefix(Transcript.width)
      let more = content.count - shown.count
      append(prefix + OctetText.encoded(shown) + (more > 0 ? "... (\(more) more octets)" : isComplete ? "" : "\\"))
    }
  }

  private mutating func append(_ line: String) {
    if complete.count < Transcript.limit {
      complete.append(line)
    } else if complete.count == Transcript.limit {
      complete.append("-- more follows")
    }
  }
}
