// DataReader: extracts a message from the octets after DATA.
//
// Only CRLF "." CRLF ends a message (RFC 5321, 4.1.1.4); the first CRLF may be that of the DATA command. A CR without a
// following LF, or an LF without a preceding CR, makes the message invalid and never ends a line. So another server's
// interpretation of line ends cannot turn a part of this message into a second message (SMTP smuggling, CVE-2023-51764
// and similar). An invalid message is read to its end.
//
// Lines are returned with LF, without stuffed dots (RFC 5321, 4.5.2). The size counts CRLF as two octets, without
// stuffed dots and the last line (RFC 1870, 5). All other octets are unchanged.
//
// Memory: only this value; the message goes into a buffer that the caller empties. Tokens and stored octets do not
// depend on how the input is divided.

/// Reads one message.
public struct DataReader: Hashable, Sendable {
  /// The result of a call.
  public enum Token: Hashable, Sendable {
    /// All octets were consumed; the message goes on.
    case more
    /// The message has ended; the octets after it are commands.
    case ended
    /// The message contains a bare CR or LF. Reported once; nothing is stored from then on.
    case bareLineEnd
    /// The message exceeds the limit. Reported once, unless it is already invalid; nothing is stored from then on.
    case tooLarge
  }

  /// The position of the next octet in a line.
  private enum Position: Hashable, Sendable {
    /// After CRLF.
    case lineStart
    /// After an octet that starts no sequence.
    case text
    /// After a CR other than that of `dotCarriageReturn`.
    case carriageReturn
    /// After a dot at the start of a line, which is not stored.
    case dot
    /// After a dot at the start of a line and a CR: an LF ends the message.
    case dotCarriageReturn
  }

  /// The number of octets of the message so far.
  public private(set) var size = 0

  private let limit: Int
  private var position = Position.lineStart
  private var condemned = false
  private var storing = true

  /// Creates a reader for a message of at most `limit` octets; 0: of any size.
  public init(limit: Int) {
    self.limit = limit > 0 ? limit : .max
  }

  /// Stores nothing from now on, because the storage has failed. The message is still read to its end.
  public mutating func mute() {
    storing = false
  }

  /// Consumes octets up to the first token and appends the octets to store to `content`.
  ///
  /// - Returns: the number of octets consumed (all of them if the token is `more`), and the token.
  public mutating func read(
    _ octets: ArraySlice<UInt8>, storing content: inout [UInt8]
  ) -> (consumed: Int, token: Token) {
    var index = octets.startIndex
    while index < octets.endIndex {
      if position == .text, !condemned {
        // Most octets are ordinary: runs of them are copied at once. An octet over the limit is left for `take` to
        // handle.
        let run = octets[index...].prefix(limit - size) { $0 != Octet.carriageReturn && $0 != Octet.lineFeed }
        if storing { content += run }
        size += run.count
        index = run.endIndex
        if index == octets.endIndex { break }
      }
      let token = take(octets[index], storing: &content)
      index += 1
      if token != .more { return (index - octets.startIndex, token) }
    }
    return (octets.count, .more)
  }

  private mutating func take(_ octet: UInt8, storing content: inout [UInt8]) -> Token {
    switch position {
    case .lineStart where octet == Octet.dot:
      position = .dot
      return .more
    case .dot where octet == Octet.carriageReturn:
      position = .dotCarriageReturn
      return .more
    case .dotCarriageReturn where octet == Octet.lineFeed:
      return .ended
    case .carriageReturn where octet == Octet.lineFeed:
      position = .lineStart
      return store(octet, counting: 2, in: &content)
    case .carriageReturn, .dotCarriageReturn:
      // The previous CR was bare; this octet may be the CR of a CRLF.
      position = octet == Octet.carriageReturn ? .carriageReturn : .text
      return condemn(.bareLineEnd)
    case .lineStart, .text, .dot:
      return begin(octet, storing: &content)
    }
  }

  /// Handles an octet without a preceding CR.
  private mutating func begin(_ octet: UInt8, storing content: inout [UInt8]) -> Token {
    switch octet {
    case Octet.carriageReturn:
      position = .carriageReturn
      return .more
    case Octet.lineFeed:
      position = .text
      return condemn(.bareLineEnd)
    default:
      position = .text
      return store(octet, counting: 1, in: &content)
    }
  }

  private mutating func store(_ octet: UInt8, counting count: Int, in content: inout [UInt8]) -> Token {
    guard !condemned else { return .more }
    guard size <= limit - count else { return condemn(.tooLarge) }
    size += count
    if storing { content.append(octet) }
    return .more
  }

  private mutating func condemn(_ token: Token) -> Token {
    guard !condemned else { return .more }
    condemned = true
    storing = false
    return token
  }
}

extension ArraySlice<UInt8> {
  /// The longest prefix of at most `most` octets that all satisfy the predicate.
  fileprivate func prefix(_ most: Int, while predicate: (UInt8) -> Bool) -> ArraySlice<UInt8> {
    let stop = count > most ? startIndex + most : endIndex
    var index = startIndex
    while index < stop, predicate(self[index]) { index += 1 }
    return self[startIndex..<index]
  }
}
