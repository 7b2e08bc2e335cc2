// Drivers share nothing: two threads run sessions side by side, and every client gets the replies to its own commands.
// `make test` runs this once more under ThreadSanitizer.

import PropertyKit
import Foundation
import SMTPState
import Synchronization
import XCTest

@testable import TransportKit

final class TwoThreadsTests: XCTestCase {
  /// The failures of the threads.
  private final class Complaints: Sendable {
    let texts = Mutex<[String]>([])

    func add(_ text: String) { texts.withLock { $0.append(text) } }
  }

  func testTwoThreadsOfAHundredThousandCommandsEach() {
    let complaints = Complaints()
    let done = DispatchSemaphore(value: 0)
    for name in ["a", "b"] {
      Thread.detachNewThread {
        do {
          for first in stride(from: 0, to: 100_000, by: 25_000) {
            try TwoThreadsTests.play(name, first..<(first + 25_000))
          }
        } catch {
          complaints.add("\(name): \(error)")
        }
        done.signal()
      }
    }
    for _ in 0..<2 { done.wait() }
    XCTAssertEqual(complaints.texts.withLock { $0 }, [])
  }

  /// One session: numbered commands, each of which the server answers with its number.
  private static func play(_ name: String, _ numbers: Range<Int>) throws {
    var policy = Policy()
    policy.commandLimit = 65_535
    policy.outstandingLimit = 255
    let session = try BareSession(policy: policy)
    session.server.put("220 ready\r\n")
    session.turn()
    _ = session.client.get()
    for first in stride(from: numbers.lowerBound, to: numbers.upperBound, by: 200) {
      let batch = first..<min(first + 200, numbers.upperBound)
      session.client.put(batch.map { "NOOP \(name)\($0)\r\n" }.joined())
      session.turn()
      let commands = session.server.get()
      guard commands == batch.map({ "NOOP \(name)\($0)\r\n" }).joined() else { throw Falsified("to the server: \(commands)") }
      session.server.put(batch.map { "250 \(name)\($0)\r\n" }.joined())
      session.turn()
      let replies = session.client.get()
      guard replies == batch.map({ "250 \(name)\($0)\r\n" }).joined() else { throw Falsified("to the client: \(replies)") }
    }
  }
}
