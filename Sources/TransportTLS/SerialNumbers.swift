// SerialNumbers: a set of serial numbers in two buffers.
//
// A set of arrays needs an allocation for each number: some 50,000 for a large revocation list, which take longer to make
// and to free than everything else that is done with the list.
//
// Contract: the positions have 32 bits, which 4,000 of the largest lists do not reach.

/// A set of serial numbers of at most 255 octets.
struct SerialNumbers {
  /// Each number, after an octet with its length.
  private var octets: [UInt8] = []
  /// A hash table with linear probing, a power of two long: the position after a number's length, or 0.
  private var slots: [UInt32] = []
  private(set) var count = 0

  /// Adds a number; one of more than 255 octets is not added.
  mutating func insert(_ serial: ArraySlice<UInt8>) {
    guard serial.count <= 255 else { return }
    if (count + 1) * 4 > slots.count * 3 { grow() }
    let slot = slot(of: serial)
    guard slots[slot] == 0 else { return }
    octets.append(UInt8(serial.count))
    slots[slot] = UInt32(octets.count)
    octets += serial
    count += 1
  }

  /// True if it has the number.
  func contains(_ serial: [UInt8]) -> Bool {
    !slots.isEmpty && slots[slot(of: serial[...])] != 0
  }

  /// Where the number is, or the empty slot where it belongs.
  private func slot(of serial: ArraySlice<UInt8>) -> Int {
    var slot = hash(serial)
    while slots[slot] != 0, self[slot] != serial { slot = (slot + 1) & (slots.count - 1) }
    return slot
  }

  private subscript(_ slot: Int) -> ArraySlice<UInt8> {
    let start = Int(slots[slot])
    return octets[start..<start + Int(octets[start - 1])]
  }

  private func hash(_ serial: ArraySlice<UInt8>) -> Int {
    var hasher = Hasher()
    serial.withUnsafeBytes { hasher.combine(bytes: $0) }
    return hasher.finalize() & (slots.count - 1)
  }

  private mutating func grow() {
    slots = [UInt32](repeating: 0, count: max(16, 2 * slots.count))
    var start = 1
    while start <= octets.count {
      let end = start + Int(octets[start - 1])
      slots[slot(of: octets[start..<end])] = UInt32(start)
      start = end + 1
    }
  }
}
