// CommandScanner: turns a client's octets into one token for each line.
//
// Purpose: find the end of each line, its verb, and what is wrong with it. What to do with the line is decided elsewhere.
// Contract: it keeps positions, candidates and flags, and stores no octets. A line ends with LF. Whether it is read as a
// command, an exchange line or a chunk is fixed at its start.
// Failure: a line that cannot be used is still read to its end, and its token has a flaw.

/// What is wrong with a line. Each flaw has its own answer.
enum Flaw: UInt8, Equatable, Sendable {
  /// Nothing.
  case sound
  /// It holds NUL or a bare CR, is too long, or ends with a bare LF where that is refused.
  case malformed
  /// BDAT whose size cannot be read, so that the end of its chunk is unknown.
  case badChunk
  /// BDAT with a size above the limit for chunks that are skipped.
  case largeChunk
  /// The first octet begins a TLS record. It is judged without waiting for the end of a line.
  case tlsRecord
  /// The line exceeds the number of commands that the policy allows before TLS. The session sets this flaw, not the scanner.
  case flood
}

/// The token of one client line.
struct ClientLine: Equatable, Sendable {
  var verb: Verb
  var hasParameter = false
  var flaw = Flaw.sound
}

/// The result of scanning one octet.
enum ClientScan: Equatable, Sendable {
  /// The line continues.
  case more
  /// The line has reached its limit without LF. Drop what is held of it.
  case tooLong
  /// The octet completed a line, and a chunk of that many octets follows. Or it completed the chunk; then `chunk` is 0.
  case line(ClientLine, chunk: UInt32)
}

struct CommandScanner: Equatable, Sendable {
  /// How a line is read.
  private enum Mode: UInt8 {
    /// A command.
    case command
    /// A line of a SASL exchange, the answer to a 334: any octets up to the line's end.
    case response
    /// A chunk: octets without lines. `chunk` says how many are left.
    case chunk
  }

  /// Whether the line can be used.
  private enum Condition: UInt8 {
    case good, malformed, tooLong
  }

  /// Which part of a command line is being read.
  private enum Part: UInt8 {
    /// The first word. `candidates` says which it can be.
    case verb
    /// The blanks after the first word.
    case gap
    /// A parameter that is not evaluated, and what follows it.
    case parameter
    /// BDAT: the digits of the size. `chunk` has its value so far.
    case size
    /// BDAT: after the size; after the L, A and S of LAST; after LAST.
    case sizeEnded, l, la, las, last
    /// BDAT: the size cannot be read.
    case bad
  }

  /// BDAT: while the line is read, its size, at most the limit plus 1; while the chunk is skipped, how many octets are left.
  private var chunk: UInt32 = 0
  private var candidates = Candidates<Verb>.all
  /// How many octets of this line were read, at most the limit.
  private var position: UInt16 = 0
  private var mode = Mode.command
  private var part = Part.verb
  /// The verb, once the first word has ended.
  private var verb = Verb.other
  /// Whether the last octet was CR.
  private var endsWithCR = false
  private var condition = Condition.good

  init() {}

  var isSkippingChunk: Bool { mode == .chunk }

  /// How many octets of the chunk are left; 0 outside a chunk.
  var chunkLeft: Int { mode == .chunk ? Int(chunk) : 0 }

  /// Whether this line is a line of a SASL exchange.
  var isResponse: Bool { mode == .response }

  /// Reads the next line as a line of a SASL exchange. Call it between lines.
  mutating func expectResponse() {
    self = CommandScanner()
    mode = .response
    candidates = .nothing
  }

  /// Reads the next octets as a chunk. Call it after a complete BDAT line with a size above 0.
  mutating func skipChunk(of size: UInt32) {
    self = CommandScanner()
    mode = .chunk
    candidates = .nothing
    chunk = size
  }

  /// Skips octets that need not be held: those of a chunk except its last, and those of a line that is too long except its LF.
  ///
  /// - Returns: how many octets were skipped.
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

  /// Reads one octet. With `inClear` the first octet of a TLS record is recognised.
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
    // A CR inside the first word: it is no word of the vocabulary.
    if endsWithCR && part == .verb { candidates = .nothing }
    endsWithCR = octet == .carriageReturn
    if mode == .command && !endsWithCR { parse(octet, limits) }
    position += 1
    if position < limit(limits) { return .more }
    // The limit includes the LF, so the octet just read would have had to be the LF.
    spoil()
    condition = .tooLong
    endsWithCR = false
    return .tooLong
  }

  /// The limit of this line in octets, as far as its verb is known. AUTH may have an initial response that is as long as a line
  /// of the exchange (RFC 4954, 4).
  private func limit(_ limits: Limits) -> UInt16 {
    if mode == .response { return limits.responseLine }
    return verb == .auth ? max(limits.commandLine, limits.responseLine) : limits.commandLine
  }

  /// The token of the line, whose LF was read.
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

  /// Reads one octet of a command, other than CR and LF.
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

  /// Reads one octet of a size. The value stops at the limit plus 1.
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

  /// Marks the line as malformed. From here on it matters only whether the verb is BDAT, after which a chunk follows.
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
