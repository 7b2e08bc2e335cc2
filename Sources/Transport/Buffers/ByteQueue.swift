// ByteQueue: a bounded first-in, first-out queue of octets.
//
// The storage has a fixed size. It is allocated with the first octet and released on request, so that an idle
// connection keeps no buffer. It is a ring: the cost of adding and removing is proportional to the octets moved. An
// empty queue starts again at its front: what is added from then on is one contiguous piece until something is removed.

import Glibc

/// A bounded queue of octets, for output that the kernel has not accepted yet.
package struct ByteQueue: ~Copyable {
  /// How many octets fit in total.
  package let capacity: Int

  /// How many octets are in the queue.
  package private(set) var count = 0

  private var head = 0
  private var storage: UnsafeMutableRawPointer?

  /// Creates an empty queue without storage. A capacity below 1 counts as 1.
  package init(capacity: Int) {
    self.capacity = max(capacity, 1)
  }

  deinit {
    storage?.deallocate()
  }

  /// How many octets still fit.
  package var room: Int { capacity - count }

  /// True if the queue has no octets.
  package var isEmpty: Bool { count == 0 }

  /// True if storage is allocated.
  package var isAllocated: Bool { storage != nil }

  /// Adds all of the octets, or none if they do not fit.
  ///
  /// - Returns: true if they were added.
  package mutating func append(_ octets: UnsafeRawBufferPointer) -> Bool {
    guard octets.count <= room else { return false }
    var rest = octets
    while !rest.isEmpty {
      let free = freePiece()
      let length = min(free.count, rest.count)
      free.copyMemory(from: UnsafeRawBufferPointer(rebasing: rest.prefix(length)))
      count += length
      rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(length))
    }
    return true
  }

  /// Adds all of the octets, or none if they do not fit.
  package mutating func append(_ octets: borrowing RawSpan) -> Bool {
    octets.withUnsafeBytes { append($0) }
  }

  /// Adds all of a text's UTF-8 octets, or none if they do not fit.
  package mutating func append(_ text: StaticString) -> Bool {
    append(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  /// Lets `body` write into one free piece of the queue and adds as many octets as it returns, for example `queue.fill
  /// { socket.receive(into: $0) }`. If there is no room, `body` is not called and the result is `.moved(0)`.
  package mutating func fill(_ body: (UnsafeMutableRawBufferPointer) -> IOResult) -> IOResult {
    guard room > 0 else { return .moved(0) }
    let free = freePiece()
    let answer = body(free)
    if case .moved(let moved) = answer { count += min(max(moved, 0), free.count) }
    return answer
  }

  /// Lets `body` read the first piece of the octets and removes as many as it returns, for example `queue.drain {
  /// socket.send($0) }`. If the queue is empty, `body` is not called and the result is `.moved(0)`.
  package mutating func drain(_ body: (UnsafeRawBufferPointer) -> IOResult) -> IOResult {
    guard count > 0 else { return .moved(0) }
    let answer = withFirstPiece(body)
    if case .moved(let moved) = answer { removeFirst(moved) }
    return answer
  }

  /// Passes the first contiguous piece to `body`. It is the whole content if nothing was removed since the queue was
  /// empty. The content has at most two pieces.
  package borrowing func withFirstPiece<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    guard let storage else { return body(UnsafeRawBufferPointer(start: nil, count: 0)) }
    return body(UnsafeRawBufferPointer(start: storage + head, count: min(count, capacity - head)))
  }

  /// Removes octets from the front; all of them if there are fewer.
  package mutating func removeFirst(_ number: Int) {
    let length = min(max(number, 0), count)
    count -= length
    head = count == 0 ? 0 : wrapped(head + length)
  }

  /// Moves octets from the front into another queue. If they do not fit, it returns false and moves nothing.
  package mutating func move(_ number: Int, to other: inout ByteQueue) -> Bool {
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

  /// Removes all octets and keeps the storage.
  package mutating func removeAll() {
    count = 0
    head = 0
  }

  /// Releases the storage if the queue is empty; otherwise nothing happens.
  package mutating func releaseIfEmpty() {
    guard count == 0 else { return }
    storage?.deallocate()
    storage = nil
  }

  /// The free octets after the last one, up to the end of the storage or the first octet.
  private mutating func freePiece() -> UnsafeMutableRawBufferPointer {
    let base: UnsafeMutableRawPointer
    if let storage {
      base = storage
    } else {
      base = .allocate(byteCount: capacity, alignment: 16)
      storage = base
    }
    let tail = wrapped(head + count)
    let length = count == capacity ? 0 : (tail < head ? head : capacity) - tail
    return UnsafeMutableRawBufferPointer(start: base + tail, count: length)
  }

  private func wrapped(_ position: Int) -> Int {
    position < capacity ? position : position - capacity
  }
}
