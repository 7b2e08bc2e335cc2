// Candidates: which words of a vocabulary the octets read so far can still become.
//
// This is how words are recognised without storing an octet: a set that each octet narrows. What it holds after n
// octets depends on nothing but those octets, so equal prefixes give equal sets, and a word that is none of the
// vocabulary gives the empty set at the first octet that tells.

/// A fixed list of words in capitals.
protocol Vocabulary {
  /// A bit a word.
  associatedtype Mask: FixedWidthInteger & UnsignedInteger & Sendable
  static var count: Int { get }
  /// The word of that index, from 0 up to but not including `count`.
  static func word(_ index: Int) -> StaticString
}

struct Candidates<Words: Vocabulary>: Equatable, Sendable {
  private var mask: Words.Mask

  private init(mask: Words.Mask) { self.mask = mask }

  /// Every word: nothing was read yet.
  static var all: Self { Self(mask: ~0 >> (Words.Mask.bitWidth - Words.count)) }
  /// No word: the octets read are none of the vocabulary, or it does not matter any more.
  static var nothing: Self { Self(mask: 0) }

  var isEmpty: Bool { mask == 0 }

  /// Keeps the words that have this octet, in either case, at this position, counted from 0.
  mutating func narrow(_ octet: UInt8, at position: Int) {
    let capital = (0x61...0x7A).contains(octet) ? octet & 0xDF : octet
    var rest = mask
    while rest != 0 {
      let index = rest.trailingZeroBitCount
      let bit = rest & (~rest &+ 1)
      rest &= ~bit
      if !Words.word(index).has(capital, at: position) { mask &= ~bit }
    }
  }

  /// The one candidate that has exactly this length, if there is one.
  func word(ofLength length: Int) -> Int? {
    var rest = mask
    while rest != 0 {
      let index = rest.trailingZeroBitCount
      rest &= rest &- 1
      if Words.word(index).utf8CodeUnitCount == length { return index }
    }
    return nil
  }

  /// Keeps no word but that one.
  mutating func keep(only index: Int) {
    mask &= 1 << Words.Mask(truncatingIfNeeded: index)
  }
}

extension StaticString {
  /// Whether the octet at that position, counted from 0, is this one. The one place of the core that follows a pointer:
  /// to a literal, and not past its end.
  fileprivate func has(_ octet: UInt8, at position: Int) -> Bool {
    position < utf8CodeUnitCount && utf8Start[position] == octet
  }
}

#if !hasFeature(Embedded)
  extension Candidates: Hashable {}
#endif
