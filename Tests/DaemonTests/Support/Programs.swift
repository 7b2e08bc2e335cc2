// Programs: where the built programs are.
//
// The environment variable SMTPSTATE_BIN names their folder; without it, it is the one that holds the test program
// itself, where `swift build` and `swift test` put all that they build.

import Foundation

/// The programs under test.
enum Programs {
  /// A program that was not built.
  struct Missing: Error, CustomStringConvertible {
    let path: String
    var description: String { "\(path) is not there: swift build --product \((path as NSString).lastPathComponent)" }
  }

  /// The path of a built program. A missing one fails the test and says how to build it.
  static func path(_ name: String) throws -> String {
    let path = folder + "/" + name
    guard FileManager.default.isExecutableFile(atPath: path) else { throw Missing(path: path) }
    return path
  }

  /// The folder of the built programs.
  static var folder: String {
    if let folder = ProcessInfo.processInfo.environment["SMTPSTATE_BIN"] { return folder }
    return URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent().path
  }
}
