// Timers: the earliest of many deadlines.
//
// A deadline that moves into the future is not moved here: its old entry comes up, is compared with the owner's own
// deadline, and goes back. So a session that makes progress costs nothing.

import HeapModule
import Transport

/// Whoever has a deadline.
protocol TimerOwner: AnyObject {
  /// When to be told, in `Clock` milliseconds; nil for never.
  var deadline: Int? { get }
  /// The earliest entry for this owner that is in the heap.
  var scheduled: Int? { get set }
  /// The time has come.
  func ready(now: Int)
}

final class Timers {
  private struct Entry: Comparable {
    let time: Int
    let number: Int
    /// Weak: an entry of a session that has ended must not keep it until its last deadline.
    weak var owner: (any TimerOwner)?

    static func < (a: Entry, b: Entry) -> Bool { (a.time, a.number) < (b.time, b.number) }
    static func == (a: Entry, b: Entry) -> Bool { a.number == b.number }
  }

  private var heap = Heap<Entry>()
  private var count = 0

  /// When the first one is due.
  var earliest: Int? { heap.min?.time }

  /// Makes sure that the owner is told at its deadline.
  func schedule(_ owner: any TimerOwner) {
    guard let time = owner.deadline else { return }
    if let scheduled = owner.scheduled, scheduled <= time { return }
    owner.scheduled = time
    count += 1
    heap.insert(Entry(time: time, number: count, owner: owner))
  }

  /// Tells everybody whose time has come.
  func expire(now: Int) {
    // What is put in meanwhile waits for the next round: a session that has more to do must not keep others from theirs.
    let last = count
    while let first = heap.min, first.time <= now, first.number <= last {
      heap.removeMin()
      guard let owner = first.owner, owner.scheduled == first.time else { continue }
      owner.scheduled = nil
      // Read anew: those before it may have taken their time.
      if let deadline = owner.deadline, deadline <= now { owner.ready(now: Clock.now()) }
      schedule(owner)
    }
  }
}
