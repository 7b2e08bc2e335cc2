// Replay: the inputs that a fuzzer has found worth keeping, as tests.
//
// Fixtures/corpora has a file for each fuzz target: an input a line, as Notation writes octets; together they reach all
// that the target has ever reached. Fixtures/regressions has a file for each fault that a fuzzer found.

import Foundation
package import XCTest

import PropertyKit

extension XCTestCase {
  /// Fails unless a fuzz target is content with each of its inputs, and finds a meaning in all but a few.
  package func replay(
    _ target: String, atLeast: Int = 50, path: StaticString = #filePath, _ run: ([UInt8]) throws -> Bool
  ) throws {
    let fixtures = URL(fileURLWithPath: "\(path)").resolvingSymlinksInPath().pathComponents
      .prefix { $0 != "Tests" }.reduce(URL(fileURLWithPath: "/")) { $0.appendingPathComponent($1) }
      .appendingPathComponent("Fixtures")
    let corpus = fixtures.appendingPathComponent("corpora/\(target).txt")
    let regressions = fixtures.appendingPathComponent("regressions")
    let names = try FileManager.default.contentsOfDirectory(atPath: regressions.path)
    let files = [corpus] + names.filter { $0.hasPrefix("\(target)-") }.sorted().map(regressions.appendingPathComponent)
    var inputs = 0
    var meaningless = 0
    for file in files {
      let lines = try String(contentsOf: file, encoding: .utf8).split(separator: "\n")
      for line in lines where !line.hasPrefix("#") {
        inputs += 1
        do {
          if try !run(Notation.decoded(line)) { meaningless += 1 }
        } catch {
          XCTFail("\(file.lastPathComponent): \(line)\n\(error)")
        }
      }
    }
    XCTAssertGreaterThanOrEqual(inputs, atLeast, "\(target): inputs are missing")
    XCTAssertLessThanOrEqual(meaningless, inputs / 10, "\(target): inputs that no longer mean anything")
    print("\(target): \(inputs) inputs from \(files.count) files")
  }
}
