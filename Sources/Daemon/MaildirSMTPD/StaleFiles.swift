// StaleFiles: removes files that crashes have left in a Maildir's `tmp`.
//
// The Maildir convention: a file there that was not accessed for 36 hours is abandoned. Only regular files are removed.
// The number of names examined is limited, so that a full folder does not delay the message. The examination starts at
// a random position, so that every file is reached eventually. Failures are ignored: the next session tries again.

import Glibc

/// Removes old files.
enum StaleFiles {
  /// 36 hours.
  static let ageSeconds: Int64 = 129_600
  /// The number of names that one session examines.
  static let limit = 1000

  /// Removes the files in `folder` that were neither read nor written for 36 hours before `now`.
  static func remove(in folder: String, now: WallTime) {
    guard let stream = opendir(folder) else { return }
    defer { closedir(stream) }
    var count = 0
    while readdir(stream) != nil { count += 1 }
    // After the last name it continues with the first.
    func next() -> UnsafeMutablePointer<dirent>? {
      if let entry = readdir(stream) { return entry }
      rewinddir(stream)
      return readdir(stream)
    }
    if count > limit { for _ in 0..<Int.random(in: 0..<count) { _ = next() } }
    for _ in 0..<min(count, limit) {
      guard let entry = next() else { return }
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: $0.pointee)) { String(cString: $0) }
      }
      var facts = stat()
      guard fstatat(dirfd(stream), name, &facts, AT_SYMLINK_NOFOLLOW) == 0, facts.st_mode & S_IFMT == S_IFREG else {
        continue
      }
      let touched = max(Int64(facts.st_atim.tv_sec), Int64(facts.st_mtim.tv_sec))
      if touched < now.seconds - ageSeconds { unlinkat(dirfd(stream), name, 0) }
    }
  }
}
