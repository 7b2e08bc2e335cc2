// TestFolder: a folder of one test.

import Foundation
import Glibc

/// A folder in /tmp that is removed, with everything in it, when the value ends.
final class TestFolder {
  let path: String

  init() {
    var template = Array("/tmp/starttlsd-test-XXXXXX".utf8CString)
    mkdtemp(&template)
    path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  deinit {
    try? FileManager.default.removeItem(atPath: path)
  }

  /// The names in a folder of it; none where there is no such folder.
  func names(in folder: String) -> [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: path + "/" + folder)) ?? []).sorted()
  }

  /// A file's octets; none where there is no such file.
  func contents(_ file: String) -> [UInt8] {
    FileManager.default.contents(atPath: path + "/" + file).map(Array.init) ?? []
  }

  func text(_ file: String) -> String { String(decoding: contents(file), as: UTF8.self) }

  /// Writes a file and returns its path.
  @discardableResult
  func write(_ octets: [UInt8], to file: String) throws -> String {
    try Data(octets).write(to: URL(fileURLWithPath: path + "/" + file))
    return path + "/" + file
  }
}
