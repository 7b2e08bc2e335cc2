// Timers: the earliest of many deadlines.
//
// If a deadline moves into the future, its entry is not moved. When the old entry expires, it is compared with the
// owner's current deadline and inserted again. So progress in a session costs nothing here. If a deadline moves towards the present, the
// old entry stays as well, without effect; when there are too many of these, all are removed at once: a client could otherwise
// cause any number of them.

import HeapModule
import Transport

/// An object with a deadline.
protocol TimerOwner: AnyObject {
  /// When to notify it, in `Clock` milliseconds; nil for never.
  var deadline: Int? { get }
  /// The earliest entry for this owner in the heap.
  var scheduled: Int? { get set }
  /// The deadline has passed.
  func ready(now: Int)
}

final class Timers {
  private struct Entry: Comparable {
    let time: Int
    let number: Int
    /// Weak: the entry of an ended session must not keep it alive until its last deadline.
    weak var owner: (any TimerOwner)?

    static func < (a: Entry, b: Entry) -> Bool { (a.time, a.number) < (b.time, b.number) }
    static func == (a: Entry, b: Entry) -> Bool { a.number == b.number }
  }

  private var heap = Heap<Entry>()
  private var count = 0
  private static let leastLimit = 1_024
  /// With so many entries, those without effect are removed. Half of the entries at most have an effect then.
  private var limit = Timers.leastLimit

  /// The time of the earliest entry.
  var earliest: Int? { heap.min?.time }

  /// Makes sure that the owner is notified at its deadline.
  func schedule(_ owner: any TimerOwner) {
    guard let time = owner.deadline else { return }
    if let scheduled = owner.scheduled, scheduled <= time { return }
    owner.scheduled = time
    count += 1
    heap.insert(Entry(time: time, number: count, owner: owner))
    if heap.count > limit { removeSuperseded() }
  }

  private func removeSuperseded() {
    heap = Heap(heap.unordered.filter { $0.owner?.scheduled == $0.time })
    limit = max(Timers.leastLimit, 2 * heap.count)
  }

  /// Notifies all owners whose deadline has passed.
  func expire(now: Int) {
    // Entries added meanwhile wait for the next round: a session with more to do must not delay others.
    let last = count
    while let first = heap.min, first.time <= now, first.number <= last {
      heap.removeMin()
      guard let owner = first.owner, owner.scheduled == first.time else { continue }
      owner.scheduled = nil
      // Read the clock again: the previous owners may have taken time.
      if let deadline = owner.deadline, deadline <= now { owner.ready(now: Clock.now()) }
      schedule(owner)
    }
  }
}
