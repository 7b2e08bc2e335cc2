// Opens a separate open file description for an inherited descriptor.
//
// A log on standard error is written without waiting, but O_NONBLOCK must not be set on a description that others
// share. A pipe, a FIFO or a terminal can be opened again by its name in /proc/self/fd. The new description is ours
// alone and may be non-blocking from its creation.

import Glibc

extension Descriptor {
  /// Opens the object of a descriptor again, for writing, with a non-blocking description of our own.
  ///
  /// Not for sockets, which cannot be opened (ENXIO), and not for files, because the new description would not share
  /// the position. ENOENT without /proc; EACCES if the process may not open the object.
  package static func reopenedForWriting(_ number: CInt) throws(SystemError) -> Descriptor {
    Descriptor(adopting: try Kernel.open("/proc/self/fd/\(number)", O_WRONLY | O_NONBLOCK | O_NOCTTY))
  }
}

extension OctetStream {
  /// A stream that writes to the object of an inherited descriptor and never waits for the reader. It uses a
  /// description of its own if possible, else a duplicate of the inherited descriptor.
  package static func writing(to inherited: CInt) throws(SystemError) -> OctetStream {
    let duplicate = Descriptor(adopting: try Kernel.duplicate(inherited, above: 3))
    switch try duplicate.kind() {
    case .pipe, .terminal:
      guard let own = try? Descriptor.reopenedForWriting(inherited) else { break }
      return try OctetStream(own)
    case .socket, .file: break
    }
    return try OctetStream(duplicate)
  }
}
