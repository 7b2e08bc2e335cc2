// EventBatch: how much is taken from one socket in one turn of an event loop: clients from a listening socket, or messages.
//
// With one now and then a second call would find nothing: one is taken, and the loop reports the socket again if there is more. Where
// more waits in turn after turn, the number doubles.

package struct EventBatch {
  private let limit: Int
  private var size = 1
  /// The turn that follows the last one with an event of this socket.
  private var next = 0

  /// - Parameter limit: the most in one turn.
  package init(limit: Int) {
    self.limit = limit
  }

  /// An event was reported in this turn of the loop: how much to take.
  ///
  /// - Parameter turn: the number of turns, from 1, in which the loop has reported all events that there were.
  package mutating func begin(turn: Int) -> Int {
    size = turn <= next ? min(2 * size, limit) : 1
    next = turn + 1
    return size
  }

  /// There was less.
  package mutating func foundNothing() {
    size = 1
    next = 0
  }
}
