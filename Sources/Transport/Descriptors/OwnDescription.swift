// An open file description of our own on something that was inherited.
//
// A log on standard error is written without waiting, and O_NONBLOCK must not be set on a description that others share.
// A pipe, a FIFO or a terminal can be opened once more by its name in /proc/self/fd: that makes a new description, which
// is ours alone and may be non-blocking from its creation.

import Glibc

extension Descriptor {
  /// Opens what a descriptor is open on once more, for writing, with a description of our own that is non-blocking.
  ///
  /// Not for sockets, which cannot be opened (ENXIO), and not for files, whose position the new description would not
  /// share. Without /proc ENOENT; EACCES where the process may not open what it was given open.
  public static func reopenedForWriting(_ number: CInt) throws(SystemError) -> Descriptor {
    Descriptor(adopting: try Kernel.open("/proc/self/fd/\(number)", O_WRONLY | O_NONBLOCK | O_NOCTTY))
  }
}

extension OctetStream {
  /// A stream that writes to what an inherited descriptor is open on, and never waits for whoever reads it: by a
  /// description of its own where there can be one, otherwise by a duplicate of the inherited one.
  public static func writing(to inherited: CInt) throws(SystemError) -> OctetStream {
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
