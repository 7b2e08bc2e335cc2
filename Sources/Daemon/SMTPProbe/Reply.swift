// Reply: a reply of the server, and the reader that recognises replies in octets (RFC 5321, 4.2).
//
// The reader is total: whatever comes is a reply, incomplete, or garbage. It keeps at most one incomplete reply of limited size.

/// A complete reply.
package struct Reply: Hashable, Sendable {
  /// Three digits.
  package var code: String
  /// The texts of the lines, after the code and the octet that follows it. Escaped: printable ASCII only.
  package var lines: [String]
  /// A line ended with LF without CR.
  package var hasBareLineFeed: Bool

  /// `250 first line (+3 lines)`
  func text(hiding secrets: Secrets) -> String {
    let first = "\(code) \(secrets.hidden(in: lines.first ?? ""))"
    let short = first.utf8.count > 100 ? "\(first.prefix(97))..." : first
    return lines.count > 1 ? "\(short) (+\(lines.count - 1) lines)" : short
  }
}

/// Recognises replies.
package struct ReplyReader: Sendable {
  package static let lineLimit = 4096
  package static let linesLimit = 256

  /// Octets that belong to no complete line yet.
  package private(set) var buffer: [UInt8] = []
  /// The complete lines of an incomplete reply.
  private var partial: Reply?

  package init() {}

  package mutating func add(_ octets: [UInt8]) { buffer += octets }

  /// True if nothing has arrived that is not yet part of a complete reply.
  package var isEmpty: Bool { buffer.isEmpty && partial == nil }

  /// Removes all octets and returns them.
  package mutating func takeAll() -> [UInt8] {
    defer { (buffer, partial) = ([], nil) }
    return buffer
  }

  /// The next reply, an alert, or garbage; nil if more octets are needed.
  package mutating func next() -> Observation? {
    while true {
      guard let first = buffer.first else { return nil }
      if partial == nil, first == 0x15 {
        _ = takeAll()
        return .alert
      }
      guard (UInt8(ascii: "2")...UInt8(ascii: "5")).contains(first) else { return .garbage(takeAll()) }
      guard let end = buffer.firstIndex(of: 0x0A) else {
        return buffer.count > ReplyReader.lineLimit ? .garbage(takeAll()) : nil
      }
      let line = Array(buffer[...end])
      buffer.removeSubrange(...end)
      guard end < ReplyReader.lineLimit, let observation = take(line) else {
        partial = nil
        return .garbage(line + takeAll())
      }
      if case .some(let reply) = observation { return .reply(reply) }
    }
  }

  /// Takes a line. Returns nil if it is no line of this reply, `.some(nil)` if more lines follow.
  private mutating func take(_ line: [UInt8]) -> Reply?? {
    let isBare = line.count < 2 || line[line.count - 2] != 0x0D
    let content = line.dropLast(isBare ? 1 : 2)
    guard content.count >= 3, content.prefix(3).allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else { return nil }
    let separator = content.count > 3 ? content[3] : 0x20
    guard separator == 0x20 || separator == UInt8(ascii: "-") else { return nil }
    let code = String(decoding: content.prefix(3), as: UTF8.self)
    var reply = partial ?? Reply(code: code, lines: [], hasBareLineFeed: false)
    guard reply.code == code, reply.lines.count < ReplyReader.linesLimit else { return nil }
    reply.lines.append(OctetText.encoded(content.dropFirst(4)))
    reply.hasBareLineFeed = reply.hasBareLineFeed || isBare
    guard separator == 0x20 else {
      partial = reply
      return .some(nil)
    }
    partial = nil
    return reply
  }
}
