// ByteQueue, lines: the operations of a driver on held lines for `forward` and `pass`, and moves between queues.

extension ByteQueue {
  /// Removes an LF at the end, and a CR before it.
  mutating func removeLineEnd() {
    if last == 0x0A { removeLast(1) }
    if last == 0x0D { removeLast(1) }
  }

  /// The last octet.
  private var last: UInt8? {
    borrowing get { withFirstPiece { $0.count == count ? $0.last : nil } }
  }

  /// Moves octets from the front into another queue. If they do not fit, it returns false and moves nothing.
  mutating func move(_ number: Int, to other: inout ByteQueue) -> Bool {
    guard number <= other.room else { return false }
    var rest = min(number, count)
    while rest > 0 {
      let piece = withFirstPiece { octets in
        let part = UnsafeRawBufferPointer(rebasing: octets.prefix(rest))
        return other.append(part) ? part.count : 0
      }
      if piece == 0 { return false }
      removeFirst(piece)
      rest -= piece
    }
    return true
  }

  /// Copies octets from the front, as many as fit and lie in one piece; they stay in the queue. Returns the number.
  borrowing func copyFirst(into buffer: UnsafeMutableRawBufferPointer) -> Int {
    withFirstPiece { octets in
      let part = UnsafeRawBufferPointer(rebasing: octets.prefix(buffer.count))
      buffer.copyMemory(from: part)
      return part.count
    }
  }
}
