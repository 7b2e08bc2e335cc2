// ReplyScanner: a server's octets in, one token a line out.
//
// RFC 5321, 4.2, read as its 4.2.1 asks of clients: a reply may have many lines everywhere, and the octet behind the
// last code may be missing. It also ends a line at a bare LF. Everything else is garbage, judged at the octet that
// makes it so. It keeps positions, candidates and flags, never octets.

/// A reply's code, as far as it matters.
enum Code: UInt8, Equatable, Sendable {
  // Codes that mean something of their own. Their raw values are their places in a set of candidates.
  case ready220, authenticated235, done250, continue334, closing421
  // All others, by their first digit.
  case other2, other3, other4, other5

  var isPositive: Bool {
    switch self {
    case .ready220, .authenticated235, .done250, .other2: true
    case .continue334, .closing421, .other3, .other4, .other5: false
    }
  }
  /// 3yz: the server waits for more. Only AUTH is ever answered so while a session watches.
  var isIntermediate: Bool { self == .continue334 || self == .other3 }
}

/// The EHLO keywords that a session may have to take out of a reply.
enum Keyword: UInt8, Equatable, Sendable {
  case starttls, xclient, xforward, auth, requiretls
}

/// One line of the server, without its octets.
struct ServerLine: Equatable, Sendable {
  let code: Code
  let isFirst: Bool
  let isLast: Bool
  /// The line's keyword, where keywords are looked for, from the second line on.
  let keyword: Keyword?
}

/// What one octet came to.
enum ServerScan: Equatable, Sendable {
  case more
  case line(ServerLine)
  /// This is not an SMTP reply.
  case garbage
}

struct ReplyScanner: Equatable, Sendable {
  /// Octets of this line so far.
  private var position: UInt16 = 0
  /// Complete lines of this reply so far.
  private var lines: UInt16 = 0
  /// The first digit, and which of the codes of their own it can still be.
  private var digit: UInt8 = 0
  private var codes = Candidates<Code>.all
  /// The code of the reply's earlier lines, and of this line once it is known.
  private var code: Code?
  private var isLast = false
  private var endsWithCR = false
  private var keywords = Candidates<Keyword>.nothing
  private var keyword: Keyword?

  init() {}

  /// Whether an unfinished line was begun.
  var isInsideLine: Bool { position > 0 }

  /// Takes one octet. `findsKeywords` is to be the same for a whole reply.
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

  /// One octet of a keyword, or the one behind it.
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

  /// The line's LF has come.
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
