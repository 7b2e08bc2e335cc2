// EngineTestCase: what the tests of `tlsd-io --listen` have in common.

import Foundation
import Glibc
import XCTest

class EngineTestCase: AdoptingTestCase {
  var path: String { "\(folder.path)/engine" }

  func startEngine(_ options: [String] = [], _ environment: [String: String]? = nil) throws -> ChannelProcess {
    let engine = try start(
      [try Programs.path("tlsd-io")] + options + ["--listen", path], [:], try environment ?? credentials())
    XCTAssertTrue(eventually { FileManager.default.fileExists(atPath: path) }, engine.errors)
    return engine
  }
}
