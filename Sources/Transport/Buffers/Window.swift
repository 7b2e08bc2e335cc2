// Window: where a driver shows octets to its session.
//
// It is allocated with the first look of a turn and given back at the turn's end: an idle connection costs no buffer.

/// A driver's own buffer for octets that the session judges. Nothing stays in it between two calls.
struct Window: ~Copyable {
  private static var size: Int { 16_384 }

  private var storage: UnsafeMutableRawBufferPointer?

  init() {}

  deinit { storage?.deallocate() }

  /// The buffer, allocated if it is not.
  mutating func open() -> UnsafeMutableRawBufferPointer {
    if let storage { return storage }
    let allocated = UnsafeMutableRawBufferPointer.allocate(byteCount: Window.size, alignment: 16)
    storage = allocated
    return allocated
  }

  /// Gives the memory back.
  mutating func close() {
    storage?.deallocate()
    storage = nil
  }
}
