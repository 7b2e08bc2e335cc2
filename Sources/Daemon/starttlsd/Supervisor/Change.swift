// Change: new workers are started; when all of them serve, they replace the old ones.
//
// The first worker of each listener is started alone: a wrong command line is reported once, and a certificate that does not exist
// yet is made once.
//
// Failure: the new workers stop, and the old ones stay. At the start there are none: the supervisor ends.

import Transport

final class Change {
  enum Purpose: Hashable {
    case start
    /// Listeners of the configuration have changed.
    case reload
    /// Another program takes over.
    case takeOver
  }

  let purpose: Purpose
  /// The listeners after it.
  let groups: [WorkerGroup]
  /// Those of them that have new workers.
  let fresh: [WorkerGroup]

  init(_ purpose: Purpose, _ groups: [WorkerGroup], fresh: [WorkerGroup]) {
    self.purpose = purpose
    self.groups = groups
    self.fresh = fresh
  }

  var slots: [WorkerSlot] { fresh.flatMap(\.slots) }
  var isReady: Bool { fresh.allSatisfy(\.isReady) }

  func slot(of worker: Worker) -> WorkerSlot? { slots.first { $0.worker === worker } }
}
