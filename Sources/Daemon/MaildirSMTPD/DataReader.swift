// DataReader: a message out of the octets behind DATA.
//
// Only CRLF "." CRLF ends a message (RFC 5321, 4.1.1.4), where the first CRLF may be that of the DATA command. A CR
// without LF behind it, or a LF without CR before it, condemns the message and never ends a line: so no other server's
// idea of a line end can make a second message out of a part of this one (SMTP smuggling, CVE-2023-51764 and its kin).
// A condemned message is read up to its true end.
//
// Lines come out with LF, their stuffed dots removed (RFC 5321, 4.5.2). The size counts CRLF as two octets and neither
// stuffed dots nor the last line (RFC 1870, 5). All other octets pass as they are.
//
// Memory: none beyond this value; the message goes into a buffer that the caller empties. Tokens and stored octets do
// not depend on how the octets are cut.

/// Reads one message.
public struct DataReader: Hashable, Sendable {
  /// What a reader found.
  public enum Token: Hashable, Sendable {
    /// All octets were consumed; the message goes on.
    case more
    /// The message is over; the octets behind it are commands.
    case ended
    /// The message holds a bare CR or LF. Said once; nothing is stored from here on.
    case bareLineEnd
    /// The message is over the limit. Said once, unless it is condemned already; nothing is stored from here on.
    case tooLarge
  }

  /// Where in a line the next octet is.
  private enum Position: Hashable, Sendable {
    /// Behind CRLF.
    case lineStart
    /// Behind an octet that begins nothing.
    case text
    /// Behind a CR that is not the one of `dotCarriageReturn`.
    case carriageReturn
    /// Behind a dot at the line's start, which is not stored.
    case dot
    /// Behind a dot at the line's start and a CR: a LF ends the message.
    case dotCarriageReturn
  }

  /// The octets of the message so far.
  public private(set) var size = 0

  private let limit: Int
  private var position = Position.lineStart
  private var condemned = false
  private var storing = true

  /// A reader of a message of at most `limit` octets; 0: of any size.
  public init(limit: Int) {
    self.limit = limit > 0 ? limit : .max
  }

  /// Stores nothing from here on: the place to store it has failed. The message is read to its end all the same.
  public mutating func mute() {
    storing = false
  }

  /// Consumes octets up to the first token and appends what is to be stored to `content`.
  ///
  /// - Returns: how many octets were consumed, all of them if the token is `more`, and the token.
  public mutating func read(
    _ octets: ArraySlice<UInt8>, storing content: inout [UInt8]
  ) -> (consumed: Int, token: Token) {
    var index = octets.startIndex
    while index < octets.endIndex {
      if position == .text, !condemned {
        // Runs of ordinary octets are nearly everything and are copied at once. An octet over the limit is left to
        // `take`, which judges it.
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
      // The CR before was bare; this octet may be the CR of a CRLF.
      position = octet == Octet.carriageReturn ? .carriageReturn : .text
      return condemn(.bareLineEnd)
    case .lineStart, .text, .dot:
      return begin(octet, storing: &content)
    }
  }

  /// An octet with no CR before it.
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
  /// The longest beginning of at most `most` octets that all fulfil the predicate.
  fileprivate func prefix(_ most: Int, while predicate: (UInt8) -> Bool) -> ArraySlice<UInt8> {
    let stop = count > most ? startIndex + most : endIndex
    var index = startIndex
    while index < stop, predicate(self[index]) { index += 1 }
    return self[startIndex..<index]
  }
}
