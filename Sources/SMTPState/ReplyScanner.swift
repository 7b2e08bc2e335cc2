// ReplyScanner: turns a server's octets into one token for each reply line.
//
// Purpose: find the end of each line, its code, whether it is the last line of its reply, and its EHLO keyword.
// Contract: the syntax is that of RFC 5321, 4.2. As 4.2.1 asks of clients, any reply may have several lines, and the octet after
// the last code may be missing. A bare LF also ends a line. It keeps positions, candidates and flags, and stores no octets.
// Failure: anything else is garbage. It is detected at the first octet that violates the syntax.

/// A reply's code, as far as the session distinguishes codes.
enum Code: UInt8, Equatable, Sendable {
  // Codes with their own meaning. Their raw values are their indices in the vocabulary.
  case ready220, authenticated235, done250, continue334, closing421
  // All other codes, by their first digit.
  case other2, other3, other4, other5

  var isPositive: Bool {
    switch self {
    case .ready220, .authenticated235, .done250, .other2: true
    case .continue334, .closing421, .other3, .other4, .other5: false
    }
  }
  /// 3yz: the server waits for more. In the phases that a session reads, this is valid only for AUTH.
  var isIntermediate: Bool { self == .continue334 || self == .other3 }
}

/// The EHLO keywords that a session may take out of a reply.
enum Keyword: UInt8, Equatable, Sendable {
  case starttls, xclient, xforward, auth, requiretls
}

/// The token of one reply line.
struct ServerLine: Equatable, Sendable {
  let code: Code
  let isFirst: Bool
  let isLast: Bool
  /// The line's keyword, if keywords are looked for. The first line has none.
  let keyword: Keyword?
}

/// The result of scanning one octet.
enum ServerScan: Equatable, Sendable {
  /// The line continues.
  case more
  /// The octet completed a line.
  case line(ServerLine)
  /// The octets are not an SMTP reply.
  case garbage
}

struct ReplyScanner: Equatable, Sendable {
  /// How many octets of this line were read.
  private var position: UInt16 = 0
  /// How many lines of this reply are complete.
  private var lines: UInt16 = 0
  /// The first digit, and which codes with their own meaning it can still be.
  private var digit: UInt8 = 0
  private var codes = Candidates<Code>.all
  /// The code of the reply's earlier lines, and of this line once it is known.
  private var code: Code?
  private var isLast = false
  private var endsWithCR = false
  private var keywords = Candidates<Keyword>.nothing
  private var keyword: Keyword?

  init() {}

  /// Whether a line has begun and is not complete.
  var isInsideLine: Bool { position > 0 }

  /// Reads one octet. `findsKeywords` must be the same for all octets of a reply.
  mutating func scan(_ octet: UInt8, _ limits: Limits, findsKeywords: Bool) -> ServerScan {
    if octet == .lineFeed { return ended() }
    if endsWithCR || octet == 0 || position + 1 >= limits.replyLine { return .garbage }
    switch position {
    case 0:
      guard (0x32...0x35).contains(octet), lines < limits.replyLines else { return .garbage }
      digit = octet - 0x30
      codes.narrow(octet, at: 0)
    case 1:
      guard (0x30...0x39).contains(octet) else { return .garbage }
      codes.narrow(octet, at: 1)
    case 2:
      guard (0x30...0x39).contains(octet) else { return .garbage }
      codes.narrow(octet, at: 2)
      let own = codes.word(ofLength: 3).flatMap { Code(rawValue: UInt8(truncatingIfNeeded: $0)) }
      let this = own ?? Code.other(digit)
      if let code, code != this { return .garbage }
      code = this
      digit = 0
      codes = .nothing
    case 3:
      guard octet == .space || octet == .hyphen || octet == .carriageReturn else { return .garbage }
      isLast = octet != .hyphen
      endsWithCR = octet == .carriageReturn
      if findsKeywords && lines > 0 { keywords = .all }
    default:
      endsWithCR = octet == .carriageReturn
      if !keywords.isEmpty && !endsWithCR { match(octet) }
    }
    position += 1
    return .more
  }

  /// Reads one octet of a keyword, or the octet after it.
  private mutating func match(_ octet: UInt8) {
    let length = Int(position) - 4
    if octet == .space || octet == .tab {
      keyword = word(length: length)
      keywords = .nothing
    } else if octet == .equals && word(length: length) == .auth {
      keyword = .auth
      keywords = .nothing
    } else {
      keywords.narrow(octet, at: length)
    }
  }

  private func word(length: Int) -> Keyword? {
    keywords.word(ofLength: length).flatMap { Keyword(rawValue: UInt8(truncatingIfNeeded: $0)) }
  }

  /// The result for a line whose LF was read.
  private mutating func ended() -> ServerScan {
    let length = Int(position) - (endsWithCR ? 1 : 0)
    guard length >= 3, let code else { return .garbage }
    let line = ServerLine(
      code: code, isFirst: lines == 0, isLast: isLast || length == 3, keyword: keyword ?? word(length: length - 4))
    let count = lines
    self = ReplyScanner()
    if !line.isLast {
      lines = count + 1
      self.code = line.code
    }
    return .line(line)
  }
}

extension Code: Vocabulary {
  typealias Mask = UInt8
  static var count: Int { Int(Code.other2.rawValue) }
  static func word(_ index: Int) -> StaticString {
    switch Code(rawValue: UInt8(truncatingIfNeeded: index)) {
    case .ready220: "220"
    case .authenticated235: "235"
    case .done250: "250"
    case .continue334: "334"
    case .closing421: "421"
    case .other2, .other3, .other4, .other5, nil: ""
    }
  }

  fileprivate static func other(_ digit: UInt8) -> Code {
    switch digit {
    case 2: .other2
    case 3: .other3
    case 4: .other4
    default: .other5
    }
  }
}

extension Keyword: Vocabulary {
  typealias Mask = UInt8
  static var count: Int { 5 }
  static func word(_ index: Int) -> StaticString {
    switch Keyword(rawValue: UInt8(truncatingIfNeeded: index)) {
    case .starttls: "STARTTLS"
    case .xclient: "XCLIENT"
    case .xforward: "XFORWARD"
    case .auth: "AUTH"
    case .requiretls: "REQUIRETLS"
    case nil: ""
    }
  }
}

#if !hasFeature(Embedded)
  extension ReplyScanner: Hashable {}
#endif
