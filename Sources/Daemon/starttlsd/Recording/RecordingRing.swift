// RecordingRing: the files of a folder, of which only so many are kept.
//
// Contract: names begin with the time, so their order is that of the sessions. Files of an earlier run count, and those of other
// workers. Names of another form are left alone.

import Glibc
import Transport

struct RecordingRing {
  private let folder: CInt
  private let limit: Int
  /// The oldest first.
  private var names: [String]
  /// Other processes write into the folder, too: it is listed again after some files.
  private let isShared: Bool
  private var countSinceListing = 0
  /// Few enough to keep the limit, and enough to keep the cost of a large folder low.
  private var listingInterval: Int { max(1, limit / 1_000) }

  init(folder: CInt, limit: Int, isShared: Bool) {
    self.folder = folder
    self.limit = limit
    self.isShared = isShared
    names = RecordingRing.names(in: folder).sorted()
  }

  private mutating func list() {
    names = RecordingRing.names(in: folder).sorted()
    countSinceListing = 0
  }

  private static func names(in folder: CInt) -> [String] {
    let copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard copy >= 0, let stream = fdopendir(copy) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if isOwn(name) { names.append(name) }
    }
    return names
  }

  /// `20261129T012030Z-1ma2b3c4d5e.rec`: the name of a recording, as `Recordings` makes it.
  static func isOwn(_ name: String) -> Bool {
    let form = Array("00000000T000000Z-".utf8)
    let octets = Array(name.utf8)
    let identifier = octets.dropFirst(form.count).dropLast(RecordingProcess.suffix.utf8.count)
    func isDigit(_ octet: UInt8) -> Bool { (0x30...0x39).contains(octet) }
    return name.hasSuffix(RecordingProcess.suffix) && !identifier.isEmpty
      && zip(octets, form).allSatisfy { isDigit($1) ? isDigit($0) : $0 == $1 }
      && identifier.allSatisfy { isDigit($0) || (0x61...0x7A).contains($0) }
  }

  /// How many of the files were written in the last minute, by any process.
  mutating func countOfLastMinute() -> Int {
    list()
    let now = time(nil)
    return names.count { name in
      var status = stat()
      return fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && (0..<60).contains(now - status.st_mtim.tv_sec)
    }
  }

  /// Writes a file, after the removal of the oldest ones.
  mutating func write(_ octets: [UInt8], _ name: String) throws(SystemError) {
    if isShared {
      countSinceListing += 1
      if countSinceListing >= listingInterval { list() }
    }
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
