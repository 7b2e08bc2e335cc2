// OctetClasses: which octets no session can tell apart.
//
// A claim, not a definition: the explorer proves it by stepping every state that it reaches with all 256 octets and
// comparing each with its class's representative.

@testable import SMTPState
@testable import SessionKit

enum OctetClasses {
  /// The representative of each octet for a side; an octet that is its own representative stands for its class.
  static func representatives(_ side: Side) -> [UInt8] {
    (0...255).map { representative(UInt8($0), side) }
  }

  /// One octet a class.
  static func classes(_ side: Side) -> [UInt8] {
    representatives(side).enumerated().filter { $0.offset == Int($0.element) }.map(\.element)
  }

  private static let clientLetters = letters(Verb.allCases.map { String(describing: $0.word) } + ["LAST"])
  private static let serverLetters = letters((0..<Keyword.count).map { String(describing: Keyword.word($0)) })

  private static func letters(_ words: [String]) -> Set<UInt8> { Set(words.joined().utf8) }

  /// Anything that means nothing.
  private static let other: UInt8 = 0x21

  private static func representative(_ octet: UInt8, _ side: Side) -> UInt8 {
    let capital = (0x61...0x7A).contains(octet) ? octet - 0x20 : octet
    switch (side, octet) {
    case (_, 0x00), (_, 0x09), (_, 0x0A), (_, 0x0D), (_, 0x20): return octet
    case (.client, 0x16): return octet
    // Of a chunk's size; a policy under which the explorer runs skips no more than two octets.
    case (.client, 0x30...0x32): return octet
    case (.client, 0x33...0x39): return 0x33
    case (.server, 0x2D), (.server, 0x3D): return octet
    // The digits of the codes that mean something of their own.
    case (.server, 0x30...0x35): return octet
    case (.server, 0x36...0x39): return 0x36
    default: break
    }
    let known = side == .client ? clientLetters : serverLetters
    return known.contains(capital) ? capital : other
  }
}
