// Candidates: which words of a vocabulary match the octets read so far.
//
// Purpose: recognise words without storing an octet. Each octet narrows the set.
// Contract: the set after n octets depends only on those octets: equal prefixes give equal sets.
// Failure: a word that is not in the vocabulary gives the empty set at the first octet that matches no word.

/// A fixed list of words in capitals.
protocol Vocabulary {
  /// One bit for each word.
  associatedtype Mask: FixedWidthInteger & UnsignedInteger & Sendable
  static var count: Int { get }
  /// The word with that index, which is from 0 to `count` - 1.
  static func word(_ index: Int) -> StaticString
}

struct Candidates<Words: Vocabulary>: Equatable, Sendable {
  private var mask: Words.Mask

  private init(mask: Words.Mask) { self.mask = mask }

  /// Every word: no octet was read yet.
  static var all: Self { Self(mask: ~0 >> (Words.Mask.bitWidth - Words.count)) }
  /// No word: the octets read match none, or words are not looked for.
  static var nothing: Self { Self(mask: 0) }

  var isEmpty: Bool { mask == 0 }

  /// Keeps the words that have this octet, in upper or lower case, at this position (from 0).
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

  /// The index of the candidate that has exactly this length; nil if there is none.
  func word(ofLength length: Int) -> Int? {
    var rest = mask
    while rest != 0 {
      let index = rest.trailingZeroBitCount
      rest &= rest &- 1
      if Words.word(index).utf8CodeUnitCount == length { return index }
    }
    return nil
  }

  /// Keeps only that word, if it is still a candidate.
  mutating func keep(only index: Int) {
    mask &= 1 << Words.Mask(truncatingIfNeeded: index)
  }
}

extension StaticString {
  /// Whether this octet is at that position (from 0). The pointer is that of a literal, and the position is checked first.
  fileprivate func has(_ octet: UInt8, at position: Int) -> Bool {
    position < utf8CodeUnitCount && utf8Start[position] == octet
  }
}

#if !hasFeature(Embedded)
  extension Candidates: Hashable {}
#endif
