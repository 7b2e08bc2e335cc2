// Programs: where the built programs are.
//
// The environment variable SMTPSTATE_BIN names their folder; without it, it is the one that holds the test bundle, where
// `swift build` and `swift test` put all that they build.

import Foundation
import XCTest

/// The programs under test.
enum Programs {
  /// The path of a built program. Skips the test, and says how to build the program, if it is not there.
  static func path(_ name: String) throws -> String {
    let path = folder + "/" + name
    guard FileManager.default.isExecutableFile(atPath: path) else {
      throw XCTSkip("\(path) is not there: swift build --product \(name)")
    }
    return path
  }

  /// The folder of the built programs.
  static var folder: String {
    if let folder = ProcessInfo.processInfo.environment["SMTPSTATE_BIN"] { return folder }
    return Bundle(for: Anchor.self).bundleURL.deletingLastPathComponent().path
  }

  private final class Anchor {}
}
