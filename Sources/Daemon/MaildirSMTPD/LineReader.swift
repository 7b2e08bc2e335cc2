// LineReader: extracts command lines from a stream of octets.
//
// Only CRLF ends a line (RFC 5321, 2.3.8). A line with NUL, a bare CR or a bare LF, or one over the limit, is refused
// once, as soon as that is detected, and skipped up to its CRLF: its rest never becomes a command. A client that ends
// its lines with LF alone gets that reply after its first line and does not wait for ever.
//
// Memory: one line. The tokens do not depend on how the input is divided.

/// Reads lines that end with CRLF.
public struct LineReader: Hashable, Sendable {
  /// Why a line is refused.
  public enum Defect: Hashable, Sendable {
    /// The line and its CRLF are longer than the limit.
    case tooLong
    /// LF without a preceding CR.
    case bareLineFeed
    /// CR without a following LF.
    case bareCarriageReturn
    /// An octet of value 0.
    case null
  }

  /// The result of a call.
  public enum Token: Hashable, Sendable {
    /// All octets were consumed; the line is not complete.
    case more
    /// A line, without its CRLF.
    case line([UInt8])
    /// The current line is refused; its rest is skipped.
    case defect(Defect)
  }

  /// The maximum length of a line, including CRLF.
  public let limit: Int

  private var line: [UInt8] = []
  /// The previous octet was CR.
  private var afterCarriageReturn = false
  /// The line is already refused.
  private var skipping = false

  /// Creates a reader of lines of at most `limit` octets including CRLF.
  public init(limit: Int) {
    self.limit = limit
  }

  /// Consumes octets up to the first token.
  ///
  /// - Returns: the number of octets consumed (all of them if the token is `more`), and the token.
  public mutating func read(_ octets: ArraySlice<UInt8>) -> (consumed: Int, token: Token) {
    var consumed = 0
    for octet in octets {
      consumed += 1
      let token = skipping ? skip(octet) : take(octet)
      if token != .more { return (consumed, token) }
    }
    return (consumed, .more)
  }

  private mutating func skip(_ octet: UInt8) -> Token {
    if afterCarriageReturn, octet == Octet.lineFeed {
      skipping = false
      afterCarriageReturn = false
    } else {
      afterCarriageReturn = octet == Octet.carriageReturn
    }
    return .more
  }

  private mutating func take(_ octet: UInt8) -> Token {
    if afterCarriageReturn {
      guard octet == Octet.lineFeed else { return refuse(.bareCarriageReturn, at: octet) }
      afterCarriageReturn = false
      let whole = line
      line = []
      return .line(whole)
    }
    switch octet {
    case Octet.carriageReturn:
      afterCarriageReturn = true
    case Octet.lineFeed:
      return refuse(.bareLineFeed, at: octet)
    case 0:
      return refuse(.null, at: octet)
    default:
      guard line.count + 2 < limit else { return refuse(.tooLong, at: octet) }
      line.append(octet)
    }
    return .more
  }

  private mutating func refuse(_ defect: Defect, at octet: UInt8) -> Token {
    line = []
    skipping = true
    afterCarriageReturn = octet == Octet.carriageReturn
    return .defect(defect)
  }
}
