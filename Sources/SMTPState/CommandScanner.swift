// CommandScanner: a client's octets in, one token a line out.
//
// It keeps positions, candidates and flags, never octets. A line ends with LF; what the session may do with it is not
// decided here. The mode is fixed at a line's start.

/// What is wrong with a line, if anything. Each has its own answer.
enum Flaw: UInt8, Equatable, Sendable {
  /// Nothing.
  case sound
  /// It holds NUL or a bare CR, is too long, or ends with a bare LF where that is refused.
  case malformed
  /// BDAT whose size cannot be read: where its chunk ends is unknown.
  case badChunk
  /// BDAT with a size beyond what is skipped.
  case largeChunk
  /// Not a line: its first octet begins a TLS record.
  case tlsRecord
  /// One command more than the policy allows before TLS. Set by the session, not by the scanner.
  case flood
}

/// One line of the client, without its octets.
struct ClientLine: Equatable, Sendable {
  var verb: Verb
  var hasParameter = false
  var flaw = Flaw.sound
}

/// What one octet came to.
enum ClientScan: Equatable, Sendable {
  /// It belongs to a line that goes on.
  case more
  /// With it the line became longer than any that is held: what is held of it is to be dropped.
  case tooLong
  /// It completed a line, behind which a chunk of so many octets comes. Or it completed the chunk, with 0.
  case line(ClientLine, chunk: UInt32)
}

struct CommandScanner: Equatable, Sendable {
  /// What a line is read as.
  private enum Mode: UInt8 {
    /// A command.
    case command
    /// The answer to a 334: any octets up to the line's end.
    case response
    /// A chunk: octets without lines, `chunk` of them left.
    case chunk
  }

  /// Whether a line can still be used.
  private enum Condition: UInt8 {
    case good, malformed, tooLong
  }

  /// How far a command line has come.
  private enum Part: UInt8 {
    /// In its first word: `candidates` says which it can be.
    case verb
    /// Behind the word, nothing but blanks so far.
    case gap
    /// In or behind a parameter that does not matter.
    case parameter
    /// BDAT: in the digits of the size, which `chunk` counts.
    case size
    /// BDAT: behind the size; behind L, A, S; behind the T of LAST.
    case sizeEnded, l, la, las, last
    /// BDAT: the size cannot be read.
    case bad
  }

  /// BDAT: the size, at most one more than what is skipped; then the octets left to skip.
  private var chunk: UInt32 = 0
  private var candidates = Candidates<Verb>.all
  /// Octets of this line so far, at most the limit.
  private var position: UInt16 = 0
  private var mode = Mode.command
  private var part = Part.verb
  /// The first word, once it has ended.
  private var verb = Verb.other
  /// The last octet was CR.
  private var endsWithCR = false
  private var condition = Condition.good

  init() {}

  var isSkippingChunk: Bool { mode == .chunk }

  /// From the next line's start on: a line of a SASL exchange is awaited.
  mutating func expectResponse() {
    self = CommandScanner()
    mode = .response
    candidates = .nothing
  }

  /// Behind a complete BDAT line with a size above 0: its octets come next.
  mutating func skipChunk(of size: UInt32) {
    self = CommandScanner()
    mode = .chunk
    candidates = .nothing
    chunk = size
  }

  /// How many of the next octets belong to no hold: those of a chunk but for its last, those of a line that is too long
  /// but for its LF.
  mutating func discard(_ octets: Span<UInt8>) -> Int {
    if mode == .chunk {
      guard chunk > 1 else { return 0 }
      let count = min(octets.count, Int(chunk - 1))
      chunk -= UInt32(truncatingIfNeeded: count)
      return count
    }
    guard condition == .tooLong else { return 0 }
    var count = 0
    while count < octets.count && octets[count] != .lineFeed { count += 1 }
    return count
  }

  /// Takes one octet. `inClear` says whether a TLS record would be out of place.
  mutating func scan(_ octet: UInt8, _ limits: Limits, inClear: Bool) -> ClientScan {
    switch mode {
    case .chunk:
      self = CommandScanner()
      return .line(ClientLine(verb: .bdat, hasParameter: true), chunk: 0)
    case .command:
      if position == 0 && octet == .tlsHandshake && inClear {
        return .line(ClientLine(verb: .other, flaw: .tlsRecord), chunk: 0)
      }
    case .response:
      break
    }

    if octet == .lineFeed {
      let line = ended(limits)
      let size = line.flaw == .sound ? chunk : 0
      self = CommandScanner()
      return .line(line, chunk: size)
    }
    if condition == .tooLong { return .more }
    if endsWithCR || octet == 0 { spoil() }
    // The CR before this octet was one of the word's, after all.
    if endsWithCR && part == .verb { candidates = .nothing }
    endsWithCR = octet == .carriageReturn
    if mode == .command && !endsWithCR { parse(octet, limits) }
    position += 1
    if position < limit(limits) { return .more }
    // One octet more would have had to be this one: the LF.
    spoil()
    condition = .tooLong
    endsWithCR = false
    return .tooLong
  }

  /// How many octets the line may have, as far as it is known. AUTH may carry an initial response, as long as a line of
  /// the exchange (RFC 4954, 4).
  private func limit(_ limits: Limits) -> UInt16 {
    if mode == .response { return limits.responseLine }
    return verb == .auth ? max(limits.commandLine, limits.responseLine) : limits.commandLine
  }

  /// The line's token; its LF has come.
  private func ended(_ limits: Limits) -> ClientLine {
    var line = ClientLine(verb: verb, hasParameter: part != .verb && part != .gap)
    if mode == .response {
      line = ClientLine(verb: .response)
    } else if part == .verb {
      line.verb = word(length: Int(position) - (endsWithCR ? 1 : 0))
    }
    let isRefusedBare = !endsWithCR && limits.rejectsBareLineFeed
    if condition != .good || isRefusedBare { line.flaw = .malformed }
    guard line.verb == .bdat && line.flaw == .sound else { return line }
    switch part {
    case .size, .sizeEnded, .last:
      if chunk > limits.chunk { line.flaw = .largeChunk }
    case .verb, .gap, .parameter, .l, .la, .las, .bad:
      line.flaw = .badChunk
    }
    return line
  }

  /// Takes one octet of a command that is neither LF nor CR.
  private mutating func parse(_ octet: UInt8, _ limits: Limits) {
    let isBlank = octet == .space || octet == .tab
    switch part {
    case .verb:
      if isBlank {
        verb = word(length: Int(position))
        candidates = .nothing
        part = .gap
      } else {
        candidates.narrow(octet, at: Int(position))
      }
    case .gap:
      if isBlank { break }
      part = .parameter
      if verb == .bdat { size(octet, limits) }
    case .parameter, .bad:
      break
    case .size:
      if isBlank { part = .sizeEnded } else { size(octet, limits) }
    case .sizeEnded:
      if !isBlank { part = octet.isLetter("L") ? .l : .bad }
    case .l:
      part = octet.isLetter("A") ? .la : .bad
    case .la:
      part = octet.isLetter("S") ? .las : .bad
    case .las:
      part = octet.isLetter("T") ? .last : .bad
    case .last:
      if !isBlank { part = .bad }
    }
    if part == .bad { chunk = 0 }
  }

  /// One digit of a size, which stops counting at one more than what is skipped.
  private mutating func size(_ octet: UInt8, _ limits: Limits) {
    guard (0x30...0x39).contains(octet) else {
      part = .bad
      return
    }
    part = .size
    let value = UInt64(chunk) * 10 + UInt64(octet - 0x30)
    chunk = UInt32(truncatingIfNeeded: min(value, UInt64(limits.chunk) + 1))
  }

  private func word(length: Int) -> Verb {
    if length == 0 { return .blank }
    guard let index = candidates.word(ofLength: length) else { return .other }
    return Verb(rawValue: UInt8(truncatingIfNeeded: index)) ?? .other
  }

  /// The line is malformed. Nothing matters then but whether a chunk follows it.
  private mutating func spoil() {
    condition = .malformed
    if part == .verb {
      candidates.keep(only: Int(Verb.bdat.rawValue))
    } else if verb != .bdat {
      verb = .other
      part = .parameter
    }
  }
}

extension Verb: Vocabulary {
  typealias Mask = UInt32
  static var count: Int { Int(Verb.other.rawValue) }
  static func word(_ index: Int) -> StaticString {
    Verb(rawValue: UInt8(truncatingIfNeeded: index))?.word ?? ""
  }
}

extension UInt8 {
  static var tab: UInt8 { 0x09 }
  static var lineFeed: UInt8 { 0x0A }
  static var carriageReturn: UInt8 { 0x0D }
  /// The type octet of a TLS record that carries a handshake message (RFC 8446, 5.1).
  static var tlsHandshake: UInt8 { 0x16 }
  static var space: UInt8 { 0x20 }
  static var hyphen: UInt8 { 0x2D }
  static var equals: UInt8 { 0x3D }

  fileprivate func isLetter(_ capital: Unicode.Scalar) -> Bool {
    self & 0xDF == UInt8(truncatingIfNeeded: capital.value)
  }
}

#if !hasFeature(Embedded)
  extension ClientLine: Hashable {}
  extension CommandScanner: Hashable {}
#endif
