// RecordingRing: the files of a folder, of which only so many are kept.
//
// Contract: names begin with the time, so their order is that of the sessions. Files of an earlier run count. Other names are left
// alone.

import Glibc
import Transport

struct RecordingRing {
  private let folder: CInt
  private let limit: Int
  /// The oldest first.
  private var names: [String]

  init(folder: CInt, limit: Int) {
    self.folder = folder
    self.limit = limit
    names = RecordingRing.names(in: folder).sorted()
  }

  private static func names(in folder: CInt) -> [String] {
    let copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard copy >= 0, let stream = fdopendir(copy) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if name.hasSuffix(RecordingProcess.suffix), !name.hasPrefix(".") { names.append(name) }
    }
    return names
  }

  /// Writes a file, after the removal of the oldest ones.
  mutating func write(_ octets: [UInt8], _ name: String) throws(SystemError) {
    while names.count >= limit {
      // One that an operator has removed is gone already.
      _ = unlinkat(folder, names.removeFirst(), 0)
    }
    let number = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
    guard number >= 0 else { throw .last("open") }
    let file = Descriptor(adopting: number)
    var written = 0
    while written < octets.count {
      let count = octets.withUnsafeBytes { Glibc.write(file.number, $0.baseAddress! + written, $0.count - written) }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else {
        let error = SystemError.last("write")
        _ = unlinkat(folder, name, 0)
        throw error
      }
      written += count
    }
    names.append(name)
  }
}
