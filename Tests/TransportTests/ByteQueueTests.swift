// The queue keeps order, never grows over its capacity, and costs nothing while it is unused.

import Transport
import XCTest

final class ByteQueueTests: XCTestCase {
  func testStorageIsLazyAndGivenBack() {
    var queue = ByteQueue(capacity: 16)
    XCTAssertFalse(queue.isAllocated)
    XCTAssertEqual(queue.drain { _ in .failed(SystemError("none", 0)) }, .moved(0))
    XCTAssertTrue(queue.append("250 ok\r\n"))
    XCTAssertTrue(queue.isAllocated)
    queue.releaseIfEmpty()
    XCTAssertTrue(queue.isAllocated)
    queue.removeFirst(100)
    queue.releaseIfEmpty()
    XCTAssertFalse(queue.isAllocated)
    XCTAssertEqual(queue.room, 16)
  }

  func testAllOrNothing() {
    var queue = ByteQueue(capacity: 4)
    XCTAssertTrue(queue.append("abc"))
    XCTAssertFalse(queue.append("de"))
    XCTAssertEqual(queue.count, 3)
    XCTAssertTrue(queue.append("d"))
    XCTAssertFalse(queue.append("e"))
    XCTAssertEqual(queue.fill { _ in .moved(1) }, .moved(0))
  }

  func testAnEmptyQueueStartsAgainAtItsFront() {
    var queue = ByteQueue(capacity: 16)
    XCTAssertTrue(queue.append("something"))
    queue.removeFirst(9)
    XCTAssertTrue(queue.append("250 SIZE 1000\r\n"))
    queue.withFirstPiece { XCTAssertEqual(Array($0), Array("250 SIZE 1000\r\n".utf8)) }
  }

  func testAMoveIsAllOrNothing() {
    var queue = ByteQueue(capacity: 8)
    var other = ByteQueue(capacity: 6)
    XCTAssertTrue(queue.append("123456"))
    queue.removeFirst(4)
    XCTAssertTrue(queue.append("789abc"))
    XCTAssertFalse(queue.move(7, to: &other))
    XCTAssertEqual(queue.count, 8)
    XCTAssertTrue(queue.move(6, to: &other))
    XCTAssertEqual(octets(of: other), Array("56789a".utf8))
    XCTAssertEqual(octets(of: queue), Array("bc".utf8))
  }

  func testOrderAgainstAnArray() {
    var generator = SystemRandomNumberGenerator()
    let seed = UInt64.random(in: 0...UInt64.max, using: &generator)
    var state = seed
    func below(_ limit: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int((state >> 33) % UInt64(limit))
    }
    var queue = ByteQueue(capacity: 13)
    var model: [UInt8] = []
    var octet: UInt8 = 0
    for step in 0..<20_000 {
      switch below(3) {
      case 0:
        let bytes = (0..<below(9)).map { _ in octet &+= 1; return octet }
        let fits = bytes.count <= 13 - model.count
        if bytes.withUnsafeBytes({ queue.append($0) }) != fits { return XCTFail("append, seed \(seed)") }
        if fits { model += bytes }
      case 1:
        let wanted = 1 + below(6)
        _ = queue.fill { free in
          let moved = min(wanted, free.count)
          for index in 0..<moved { octet &+= 1; free[index] = octet; model.append(octet) }
          return moved == 0 ? .wouldBlock : .moved(moved)
        }
      default:
        let wanted = 1 + below(6)
        _ = queue.drain { piece in
          let moved = min(wanted, piece.count)
          if Array(piece.prefix(moved)) != Array(model.prefix(moved)) { XCTFail("drain, seed \(seed)") }
          model.removeFirst(moved)
          return .moved(moved)
        }
      }
      if queue.count != model.count { return XCTFail("step \(step), seed \(seed)") }
    }
  }

  /// The content, which has at most two pieces.
  private func octets(of queue: borrowing ByteQueue) -> [UInt8] {
    queue.withFirstPiece { Array($0) }
  }
}
