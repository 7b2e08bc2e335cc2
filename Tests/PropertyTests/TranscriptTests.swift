// Every transcript of Fixtures/transcripts and Fixtures/attacks: as it stands, octet by octet, and cut in two at every
// octet, or every fourth in `make test`. Whatever the cut, the same is done.
//
// The oracle reads them too, so that a transcript, the session and the rules cannot drift apart.

import Foundation
import SMTPState
import XCTest
import PropertyKit
import PropertyCases

#if C_INTERFACE
  @testable import CSessionKit
#else
  @testable import SessionKit
#endif

final class TranscriptTests: XCTestCase {
  func testTranscripts() throws { try run(folder: "transcripts", atLeast: 600) }

  func testAttacks() throws { try run(folder: "attacks", atLeast: 45) }

  /// What is written can be read, and comes out the same.
  func testTheFormReadsWhatItWrites() throws {
    for file in try Fixtures.files(in: "transcripts") + Fixtures.files(in: "attacks") {
      let transcript = try Transcript(reading: file.text)
      let again = try Transcript(reading: transcript.text)
      XCTAssertEqual(again.text, transcript.text, file.name)
      XCTAssertEqual(again.policy, transcript.policy, file.name)
      XCTAssertEqual(again.steps.map(\.event), transcript.steps.map(\.event), file.name)
      XCTAssertEqual(again.steps.map(\.expected), transcript.steps.map(\.expected), file.name)
    }
  }

  private func run(folder: String, atLeast: Int) throws {
    let files = try Fixtures.files(in: folder)
    XCTAssertGreaterThanOrEqual(files.count, atLeast, "transcripts are missing")
    var plays = 0
    for file in files {
      do {
        let transcript = try Transcript(reading: file.text)
        plays += try transcript.playInEveryWay()
      } catch {
        XCTFail("\(file.name): \(error)")
      }
    }
    print("\(folder): \(files.count) files, \(plays) plays")
  }
}

extension Transcript {
  struct Disagreement: Error, CustomStringConvertible {
    let description: String
  }

  /// Plays it with every cut that the extent asks for; returns how many plays that were.
  func playInEveryWay() throws -> Int {
    try playOracle()
    try play(.whole, named: "as it stands")
    try play(.everyOctet, named: "octet by octet")
    var plays = 3
    for side in [Side.client, .server] {
      let length = steps.reduce(0) { $0 + $1.event.octets(of: side) }
      for offset in stride(from: 1, to: length, by: Extent.choose(quick: 4, full: 1)) {
        try play(.at(side, offset), named: "cut at octet \(offset) of the \(side)")
        plays += 1
      }
    }
    return plays
  }

  func play(_ cuts: Cuts, named name: String) throws {
    var caller = Caller(policy, byHand: byHand, cuts: cuts)
    for step in steps {
      let before = caller.deeds.count
      caller.happen(step.event)
      try compare(step, Expectation.of(caller.deeds[before...], byHand: byHand), name)
      for expectation in step.expected {
        switch expectation {
        case .written, .command: break
        case .interest(let interest): try compare(step, "interest", caller.session.interest, interest, name)
        case .deadline(let deadline): try compare(step, "deadline", caller.session.deadline, deadline, name)
        case .unread(let octets):
          let unread = caller.ciphertext.isEmpty ? Array(caller.client.unread) : caller.ciphertext
          try compare(step, "unread", Notation.encoded(unread), Notation.encoded(octets), name)
        }
      }
    }
    if let violation = caller.violations.first { throw Disagreement(description: "\(name): \(violation)") }
  }

  private func playOracle() throws {
    var oracle = Oracle(policy, byHand: byHand)
    for step in steps {
      let before = oracle.deeds.count
      oracle.happen(step.event)
      try compare(step, Expectation.of(oracle.deeds[before...], byHand: byHand), "the oracle")
    }
  }

  private func compare(_ step: Step, _ done: [Expectation], _ name: String) throws {
    guard done != step.expected.deeds else { return }
    var got = Transcript()
    got.steps = [Step(line: 0, event: step.event, expected: done)]
    throw Disagreement(description: "line \(step.line), \(name), got:\n\(got.text)")
  }

  private func compare<Value: Equatable>(
    _ step: Step, _ what: String, _ got: Value, _ wanted: Value, _ name: String
  ) throws {
    if got != wanted {
      throw Disagreement(description: "line \(step.line), \(name): \(what) \(wanted) expected, got \(got)")
    }
  }
}

extension Event {
  func octets(of side: Side) -> Int {
    guard case .arrives(let arrival) = self else { return 0 }
    return side == .client ? arrival.client.count : arrival.server.count
  }
}

enum Fixtures {
  struct File {
    let name: String
    let text: String
  }

  /// All transcripts below a folder of Fixtures, by name.
  static func files(in folder: String, of path: StaticString = #filePath) throws -> [File] {
    // The folder of Package.swift, however deep the test lies below it.
    var top = URL(fileURLWithPath: "\(path)").deletingLastPathComponent()
    while top.path != "/", !FileManager.default.fileExists(atPath: top.path + "/Fixtures") { top.deleteLastPathComponent() }
    let root = top.appendingPathComponent("Fixtures/\(folder)")
    let names = try FileManager.default.subpathsOfDirectory(atPath: root.path).filter { $0.hasSuffix(".smtp") }
    return try names.sorted().map { name in
      File(name: "\(folder)/\(name)", text: try String(contentsOf: root.appendingPathComponent(name), encoding: .utf8))
    }
  }
}
