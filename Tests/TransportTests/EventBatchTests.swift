// EventBatchTests: how much is taken in one turn of an event loop.

import Transport
import XCTest

final class EventBatchTests: XCTestCase {
  func testItDoublesWhileMoreWaits() {
    var batch = EventBatch(limit: 4)
    XCTAssertEqual((1...5).map { batch.begin(turn: $0) }, [1, 2, 4, 4, 4])
  }

  func testAfterATurnWithoutAnEventItIsOne() {
    var batch = EventBatch(limit: 32)
    XCTAssertEqual([7, 8, 10, 11].map { batch.begin(turn: $0) }, [1, 2, 1, 2])
  }

  func testAfterLessItIsOne() {
    var batch = EventBatch(limit: 32)
    XCTAssertEqual([1, 2].map { batch.begin(turn: $0) }, [1, 2])
    batch.foundNothing()
    XCTAssertEqual([3, 4].map { batch.begin(turn: $0) }, [1, 2])
  }

  /// A loop with more ready sockets than it reports at once comes to this one only after other calls, of the same turn.
  func testATurnOfSeveralCallsIsNoGap() {
    var batch = EventBatch(limit: 32)
    XCTAssertEqual([1, 1, 1, 2].map { batch.begin(turn: $0) }, [1, 2, 4, 8])
  }
}
