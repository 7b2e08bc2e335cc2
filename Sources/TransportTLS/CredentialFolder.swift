// CredentialFolder: what is in a folder with certificates.

import Glibc
package import Transport

/// Lists folders.
package enum CredentialFolder {
  /// The maximum number of names in a folder.
  package static let limit = 1024

  /// The names in a folder, sorted; names that begin with a dot are left out.
  ///
  /// - Throws: E2BIG if there are more than `limit`.
  package static func names(in folder: String) throws(SystemError) -> [String] {
    guard let stream = opendir(folder) else { throw .last("open") }
    defer { closedir(stream) }
    var names: [String] = []
    errno = 0
    while let entry = readdir(stream) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if !name.hasPrefix(".") { names.append(name) }
      guard names.count <= limit else { throw SystemError("open", E2BIG) }
      errno = 0
    }
    guard errno == 0 else { throw .last("readdir") }
    return names.sorted()
  }

  /// True if a path leads to a regular file.
  package static func isRegular(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
  }

  /// The paths of the regular files in a folder.
  package static func files(in folder: String) throws(SystemError) -> [String] {
    try names(in: folder).map { "\(folder)/\($0)" }.filter { isRegular($0) }
  }
}
