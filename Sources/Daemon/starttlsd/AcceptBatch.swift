// AcceptBatch: how many connections a listening socket accepts in one turn of the event loop.
//
// With one client now and then a second call would find nothing: one is accepted, and the loop reports the socket again if there are
// more. Where clients wait in turn after turn, the number doubles.

struct AcceptBatch {
  private let limit: Int
  private var size = 1
  /// The turn that follows the last one with an event of this socket.
  private var next = 0

  /// - Parameter limit: the most connections in one turn.
  init(limit: Int) {
    self.limit = limit
  }

  /// An event was reported in this turn of the loop: how many connections to accept.
  mutating func begin(turn: Int) -> Int {
    size = turn == next ? min(2 * size, limit) : 1
    next = turn + 1
    return size
  }

  /// Fewer connections were there.
  mutating func foundNothing() {
    size = 1
    next = 0
  }
}
