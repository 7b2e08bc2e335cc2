// Redaction: replaces what is nobody's business by neutral octets, so that the machine decides the same.
//
// Purpose: a recording may leave the operator's hands. It has no password, no message text, no name of a mailbox.
// Contract: only what is known to be harmless is kept; each other octet becomes `x`. The length of a line, its CR, LF and NUL, and
// every octet that the machine looks at stay. So a line that was redacted leads to the same commands, and redacting it again
// changes nothing. A line is redacted as one, in whatever pieces it arrived.
//
// Kept of a client's line: a verb that the machine knows; of BDAT the size; of MAIL and RCPT the domain and known parameters; of
// AUTH a known mechanism. Kept of a reply: the code, the enhanced code, the first word of a 220, known EHLO keywords, and the
// machine's own replies.

import SMTPState
import Transport

package struct Redaction: Hashable, Sendable {
  /// Keep the addresses in MAIL and RCPT.
  package var keepsMailAddresses: Bool
  /// Keep the name in EHLO, HELO and LHLO.
  package var keepsClientName: Bool

  package init(keepsMailAddresses: Bool = false, keepsClientName: Bool = false) {
    self.keepsMailAddresses = keepsMailAddresses
    self.keepsClientName = keepsClientName
  }

  // MARK: The client's lines

  /// A command, with its line end or without.
  package func command(_ line: [UInt8]) -> [UInt8] {
    guard let first = line.first else { return line }
    if first == Octet.tlsHandshake { return [first] + Octet.hidden(line.dropFirst()) }
    let word = line.prefix { !Octet.endsWord($0) }
    let verb = Redaction.verb(word)
    // A word that has not ended may be the beginning of anything.
    guard word.count < line.count, verb != .other else {
      return verb == .blank ? Array(line.prefix(while: Octet.isBlank)) + Octet.hidden(line.drop(while: Octet.isBlank)) : Octet.hidden(line)
    }
    let gap = line[word.endIndex...].prefix(while: Octet.isBlank)
    return Array(word) + Array(gap) + parameters(line[gap.endIndex...], of: verb)
  }

  /// A line of a SASL exchange.
  package func response(_ octets: [UInt8]) -> [UInt8] { Octet.hidden(octets) }

  private static func verb(_ word: ArraySlice<UInt8>) -> Verb {
    if word.isEmpty { return .blank }
    let capitals = word.map { (0x61...0x7A).contains($0) ? $0 - 0x20 : $0 }
    return Verb.allCases.first { $0.word.utf8CodeUnitCount > 0 && capitals.elementsEqual(Octet.of($0.word)) } ?? .other
  }

  private func parameters(_ octets: ArraySlice<UInt8>, of verb: Verb) -> [UInt8] {
    switch verb {
    case .bdat:
      let kept = Octet.of("0123456789LASTlast \t")
      return octets.map { kept.contains($0) ? $0 : Octet.hidden($0) }
    case .ehlo, .helo, .lhlo: return keepsClientName ? clientName(octets) : Octet.hidden(octets)
    case .mail, .rcpt: return path(octets)
    case .auth:
      let name = octets.prefix { !Octet.endsWord($0) }
      return Words.mechanisms.contains(Octet.capitals(name)) ? Array(name) + Octet.hiddenAfterGap(octets[name.endIndex...]) : Octet.hidden(octets)
    default: return Octet.hidden(octets)
    }
  }

  /// One word with the form of a domain or an address literal. Anything else may be text that was sent at the wrong time.
  private func clientName(_ octets: ArraySlice<UInt8>) -> [UInt8] {
    let name = octets.prefix { !Octet.endsWord($0) }
    let end = octets[name.endIndex...].drop(while: Octet.isBlank)
    guard name.allSatisfy(ClientName.contains), end.allSatisfy(Octet.isLineEnd) else { return Octet.hidden(octets) }
    return Array(octets)
  }

  /// `FROM:<local@domain> parameters`
  private func path(_ octets: ArraySlice<UInt8>) -> [UInt8] {
    let begin = ["FROM:<", "TO:<"].map { Array($0.utf8) }.first { Octet.capitals(octets.prefix($0.count)) == String(decoding: $0, as: UTF8.self) }
    guard let begin, let end = octets.firstIndex(of: UInt8(ascii: ">")), !octets[..<end].contains(UInt8(ascii: "\"")) else {
      return Octet.hidden(octets)
    }
    let address = octets[(octets.startIndex + begin.count)..<end]
    if keepsMailAddresses, !address.contains(where: Octet.endsWord) {
      return Array(octets.prefix(begin.count)) + Array(address) + words(octets[end...])
    }
    let domain = address.lastIndex(of: UInt8(ascii: "@")).map { address[$0...] } ?? []
    let shown = domain.allSatisfy { Octet.isOfDomain($0) || $0 == UInt8(ascii: "@") } ? Array(domain) : Octet.hidden(domain)
    return Array(octets.prefix(begin.count)) + Octet.hidden(address.dropLast(domain.count)) + shown + words(octets[end...])
  }

  /// Parameters of MAIL and RCPT, after the `>`.
  private func words(_ octets: ArraySlice<UInt8>) -> [UInt8] {
    var result: [UInt8] = []
    var rest = octets
    if rest.first == UInt8(ascii: ">") { result.append(rest.removeFirst()) }
    while let octet = rest.first {
      if Octet.endsWord(octet) {
        result.append(octet)
        rest = rest.dropFirst()
        continue
      }
      let word = rest.prefix { !Octet.endsWord($0) }
      rest = rest[word.endIndex...]
      let isFirst = result.last.map { !Octet.isBlank($0) } ?? true
      result += !isFirst && Words.isMailParameter(word) ? Array(word) : Octet.hidden(word)
    }
    return result
  }

  // MARK: The server's lines

  /// A line of a reply, with its line end or without.
  package func reply(_ line: [UInt8]) -> [UInt8] {
    if Words.ownReplies.contains(where: { $0 == line }) { return line }
    let code = line.prefix(4).map { Octet.isOfCode($0) ? $0 : Octet.hidden($0) }
    let text = line.dropFirst(4)
    let word = text.prefix { !Octet.endsWord($0) }
    let rest = text[word.endIndex...]
    switch code.first {
    case UInt8(ascii: "2") where code.starts(with: Octet.of("220")) && word.allSatisfy(Octet.isOfDomain):
      return code + Array(word) + Octet.hiddenAfterGap(rest)
    case UInt8(ascii: "2"):
      if let keyword = Words.keyword(word) { return code + keyword + Words.keywordParameters(rest) }
    default: break
    }
    let isCode = Words.isEnhancedCode(word)
    return code + (isCode ? Array(word) : Octet.hidden(word)) + (isCode ? Octet.hiddenAfterGap(rest) : Octet.hidden(rest))
  }
}

/// Kinds of octets.
enum Octet {
  static let tlsHandshake: UInt8 = 0x16

  static func isBlank(_ octet: UInt8) -> Bool { octet == 0x20 || octet == 0x09 }
  static func isLineEnd(_ octet: UInt8) -> Bool { octet == 0x0D || octet == 0x0A }
  static func endsWord(_ octet: UInt8) -> Bool { isBlank(octet) || isLineEnd(octet) }
  static func isDigit(_ octet: UInt8) -> Bool { (0x30...0x39).contains(octet) }
  static func isOfCode(_ octet: UInt8) -> Bool { isDigit(octet) || octet == 0x20 || octet == UInt8(ascii: "-") || isLineEnd(octet) || octet == 0 }
  static func isOfDomain(_ octet: UInt8) -> Bool {
    isDigit(octet) || (0x41...0x5A).contains(octet & 0xDF) && octet < 0x80 || octet == UInt8(ascii: ".") || octet == UInt8(ascii: "-")
  }

  /// The neutral octet of the same kind.
  static func hidden(_ octet: UInt8) -> UInt8 { isLineEnd(octet) || octet == 0 ? octet : UInt8(ascii: "x") }
  static func hidden(_ octets: some Sequence<UInt8>) -> [UInt8] { octets.map { hidden($0) } }

  /// The blanks at the beginning as they are: they end the word before them.
  static func hiddenAfterGap(_ octets: ArraySlice<UInt8>) -> [UInt8] {
    Array(octets.prefix(while: isBlank)) + hidden(octets.drop(while: isBlank))
  }

  static func of(_ text: StaticString) -> UnsafeBufferPointer<UInt8> {
    UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
  }

  static func capitals(_ octets: some Sequence<UInt8>) -> String {
    String(decoding: octets.map { (0x61...0x7A).contains($0) ? $0 - 0x20 : $0 }, as: UTF8.self)
  }
}
