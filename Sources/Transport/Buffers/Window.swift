// Window: the buffer in which a driver shows octets to its session.
//
// It is allocated with the first peek of a turn and released at the turn's end: an idle connection keeps no buffer.

/// A driver's buffer for octets that the session judges. It keeps nothing between two calls.
struct Window: ~Copyable {
  private static var size: Int { 16_384 }

  private var storage: UnsafeMutableRawBufferPointer?

  init() {}

  deinit { storage?.deallocate() }

  /// The buffer, allocated if necessary.
  mutating func open() -> UnsafeMutableRawBufferPointer {
    if let storage { return storage }
    let allocated = UnsafeMutableRawBufferPointer.allocate(byteCount: Window.size, alignment: 16)
    storage = allocated
    return allocated
  }

  /// Releases the memory.
  mutating func close() {
    storage?.deallocate()
    storage = nil
  }
}
