// ByteQueue: a bounded first-in, first-out queue of octets.
//
// The storage has one fixed size, is allocated with the first octet and given back when asked, so that an idle
// connection costs no buffer. It is a ring: adding and removing cost what they move, whatever the order. A queue that
// was empty starts again at its front: what was added since then, if nothing was removed, is one contiguous piece.

import Glibc

/// A bounded queue of octets, for output that the kernel has not taken yet and for a line that is held.
public struct ByteQueue: ~Copyable {
  /// How many octets fit in all.
  public let capacity: Int

  /// How many octets are in the queue.
  public private(set) var count = 0

  private var head = 0
  private var storage: UnsafeMutableRawPointer?

  /// An empty queue without storage. A capacity below 1 counts as 1.
  public init(capacity: Int) {
    self.capacity = max(capacity, 1)
  }

  deinit {
    storage?.deallocate()
  }

  /// How many octets still fit.
  public var room: Int { capacity - count }

  /// Whether there is no octet in the queue.
  public var isEmpty: Bool { count == 0 }

  /// Whether storage is allocated.
  public var isAllocated: Bool { storage != nil }

  /// Adds all of the octets, or none when they do not fit.
  ///
  /// - Returns: whether they were added.
  public mutating func append(_ octets: UnsafeRawBufferPointer) -> Bool {
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

  /// Adds all of the octets, or none when they do not fit.
  public mutating func append(_ octets: borrowing RawSpan) -> Bool {
    octets.withUnsafeBytes { append($0) }
  }

  /// Adds all of a text's UTF-8 octets, or none when they do not fit.
  public mutating func append(_ text: StaticString) -> Bool {
    append(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  /// Adds one octet; false when it does not fit.
  public mutating func append(_ octet: UInt8) -> Bool {
    withUnsafeBytes(of: octet) { append($0) }
  }

  /// Lets `body` write into one free piece of the queue and adds as many octets as it answers, for example
  /// `queue.fill { socket.receive(into: $0) }`. The piece is empty only when there is no room; `body` is then not
  /// called and the answer is `.moved(0)`.
  public mutating func fill(_ body: (UnsafeMutableRawBufferPointer) -> IOResult) -> IOResult {
    guard room > 0 else { return .moved(0) }
    let free = freePiece()
    let answer = body(free)
    if case .moved(let moved) = answer { count += min(max(moved, 0), free.count) }
    return answer
  }

  /// Lets `body` see the first piece of the octets and removes as many as it answers, for example
  /// `queue.drain { socket.send($0) }`. `.moved(0)` without a call when the queue is empty.
  public mutating func drain(_ body: (UnsafeRawBufferPointer) -> IOResult) -> IOResult {
    guard count > 0 else { return .moved(0) }
    let answer = withFirstPiece(body)
    if case .moved(let moved) = answer { removeFirst(moved) }
    return answer
  }

  /// Shows the first contiguous piece, which is all of them if nothing was removed since the queue was empty. At most
  /// two pieces make up the whole.
  public borrowing func withFirstPiece<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    guard let storage else { return body(UnsafeRawBufferPointer(start: nil, count: 0)) }
    return body(UnsafeRawBufferPointer(start: storage + head, count: min(count, capacity - head)))
  }

  /// The octet at a position counted from the front. Outside the queue reading answers 0 and writing changes nothing.
  public subscript(position: Int) -> UInt8 {
    get {
      guard position >= 0, position < count, let storage else { return 0 }
      return storage.load(fromByteOffset: wrapped(head + position), as: UInt8.self)
    }
    set {
      guard position >= 0, position < count, let storage else { return }
      storage.storeBytes(of: newValue, toByteOffset: wrapped(head + position), as: UInt8.self)
    }
  }

  /// Removes octets from the front; all of them when there are fewer.
  public mutating func removeFirst(_ number: Int) {
    let length = min(max(number, 0), count)
    count -= length
    head = count == 0 ? 0 : wrapped(head + length)
  }

  /// Removes octets from the back; all of them when there are fewer.
  public mutating func removeLast(_ number: Int) {
    count -= min(max(number, 0), count)
    if count == 0 { head = 0 }
  }

  /// Forgets all octets and keeps the storage.
  public mutating func removeAll() {
    count = 0
    head = 0
  }

  /// Gives the storage back if the queue is empty; otherwise nothing happens.
  public mutating func releaseIfEmpty() {
    guard count == 0 else { return }
    storage?.deallocate()
    storage = nil
  }

  /// The free octets behind the last one, up to the end of the storage or the first one.
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
