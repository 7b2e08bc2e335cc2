// StateTable: the states that an exploration has seen, each once and numbered in the order in which they came.
//
// Made for tens of millions: what a state has in octets, in blocks that never move, and about 16 octets to find it
// again. States are compared octet by octet, none is stood for by a hash: two are never taken for one. A value with two
// forms in memory would be walked twice, which costs time and loses nothing.

/// `State` is a value of at most 64 octets, without references and without padding.
struct StateTable<State> {
  private typealias Words = InlineArray<8, UInt64>

  private static var blockLength: Int { 1 << 18 }
  private var blocks: [[State]] = []
  private(set) var count = 0

  /// Open addressing. A slot is 0, or has a state's number and 1 in its upper half and the state's mark in its lower.
  private var slots = [UInt64](repeating: 0, count: 1 << 12)

  init() {
    precondition(MemoryLayout<State>.size <= MemoryLayout<Words>.size)
  }

  /// The number of a state, and whether it was put in just now.
  mutating func insert(_ state: State) -> (number: Int, isNew: Bool) {
    let words = Self.words(of: state)
    let mark = Self.mark(of: words)
    var place = self.place(of: mark)
    while slots[place] != 0 {
      if slots[place] & 0xFFFF_FFFF == mark {
        let number = Int(slots[place] >> 32) - 1
        if Self.areSame(Self.words(of: self[number]), words) { return (number, false) }
      }
      place = (place + 1) & (slots.count - 1)
    }
    slots[place] = UInt64(count + 1) << 32 | mark
    append(state)
    if count > slots.count / 4 * 3 { grow() }
    return (count - 1, true)
  }

  private mutating func append(_ state: State) {
    if count % Self.blockLength == 0 {
      blocks.append([])
      blocks[blocks.count - 1].reserveCapacity(Self.blockLength)
    }
    blocks[blocks.count - 1].append(state)
    count += 1
  }

  private mutating func grow() {
    let before = slots
    slots = [UInt64](repeating: 0, count: before.count * 2)
    for slot in before where slot != 0 {
      var place = self.place(of: slot & 0xFFFF_FFFF)
      while slots[place] != 0 { place = (place + 1) & (slots.count - 1) }
      slots[place] = slot
    }
  }

  /// Where a search begins: at the mark's upper bits, so that a wider table needs no new mark.
  private func place(of mark: UInt64) -> Int {
    Int(truncatingIfNeeded: mark >> UInt64(32 - slots.count.trailingZeroBitCount))
  }

  private static func words(of state: State) -> Words {
    var words = Words(repeating: 0)
    withUnsafeBytes(of: state) { octets in
      withUnsafeMutableBytes(of: &words) { $0.copyMemory(from: octets) }
    }
    return words
  }

  private static var used: Int { (MemoryLayout<State>.size + 7) / 8 }

  /// 32 bits of a hash.
  private static func mark(of words: Words) -> UInt64 {
    var hash: UInt64 = 0
    for index in 0..<used {
      let product = (hash ^ words[index]).multipliedFullWidth(by: 0x9E37_79B9_7F4A_7C15)
      hash = (product.high ^ product.low) &+ 0xD1B5_4A32_D192_ED03
    }
    return hash >> 32
  }

  private static func areSame(_ one: Words, _ other: Words) -> Bool {
    for index in 0..<used where one[index] != other[index] { return false }
    return true
  }
}

extension StateTable: RandomAccessCollection {
  var startIndex: Int { 0 }
  var endIndex: Int { count }
  subscript(number: Int) -> State { blocks[number / Self.blockLength][number % Self.blockLength] }
}
