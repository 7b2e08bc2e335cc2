// WorkerGroup: the workers of one listener, and the sockets that they share.

import Transport

final class WorkerGroup {
  let plan: ListenerPlan
  let sockets: [HeldSocket]
  /// The socket of --metrics, which no worker has.
  let metrics: HeldSocket?
  private(set) var slots: [WorkerSlot] = []
  /// The program of its workers: that of the supervisor, or the new one in a take-over.
  let program: String

  var settings: ListenerSettings { plan.settings }
  /// All its sockets.
  var held: [HeldSocket] { sockets + (slots.map(\.status) + [metrics]).compactMap { $0 } }
  var workers: [Worker] { slots.compactMap(\.worker) }
  /// True if all workers serve.
  var isReady: Bool { slots.allSatisfy { $0.worker?.isReady ?? false } }

  init(_ plan: ListenerPlan, _ sockets: [HeldSocket], metrics: HeldSocket?, program: String) {
    self.plan = plan
    self.sockets = sockets
    self.metrics = metrics
    self.program = program
  }

  func add(_ slot: WorkerSlot) { slots.append(slot) }

  /// Creates what its workers share.
  ///
  /// - Parameters:
  ///   - pool: sockets that exist; those that are used are removed.
  ///   - passed: the sockets of a service manager.
  static func planned(
    _ plan: ListenerPlan, pool: inout [HeldSocket], passed: [HeldSocket], program: String
  ) throws(ConfigurationError) -> WorkerGroup {
    let group = WorkerGroup(
      plan, passed.isEmpty ? try HeldSocket.listening(plan, pool: &pool) : passed,
      metrics: try HeldSocket.report(plan.metrics, "--metrics", plan, pool: &pool), program: program)
    for number in 1...plan.settings.workers {
      group.add(WorkerSlot(number, status: try HeldSocket.report(try plan.statusAddress(number), "--status-socket", plan, pool: &pool)))
    }
    return group
  }

  /// Whether the worker of a slot has this socket.
  func uses(_ socket: HeldSocket, _ slot: WorkerSlot) -> Bool {
    slot.status === socket || sockets.contains { $0 === socket }
  }

  /// `--listen 0.0.0.0:25`, `submission, --listen 0.0.0.0:587`.
  func title(_ socket: HeldSocket) -> String { (settings.name.isEmpty ? "" : "\(settings.name), ") + socket.title }

  /// `worker 2`, `worker 2 of submission`.
  func title(_ slot: WorkerSlot) -> String {
    "worker \(slot.number)" + (settings.name.isEmpty ? "" : " of \(settings.name)")
  }
}

/// The place of one worker.
final class WorkerSlot {
  /// From 1.
  let number: Int
  let status: HeldSocket?
  /// nil until it is started, or started again.
  var worker: Worker?
  var backOff = BackOff()
  /// When it is started again; nil if it runs, or is not to be started.
  var restartAt: Int?
  /// How often it was started again.
  var restarts = 0

  init(_ number: Int, status: HeldSocket?) {
    self.number = number
    self.status = status
  }
}

/// The time from the end of a worker to its next start: none the first time, then a second, doubling to a minute. A worker that has
/// served for a minute begins with none.
struct BackOff: Hashable {
  static let longestMilliseconds = 60_000
  private var failures = 0

  /// A worker has ended.
  ///
  /// - Parameter served: for how long, in milliseconds.
  /// - Returns: the time until the next start, in milliseconds.
  mutating func ended(afterServing served: Int) -> Int {
    if served >= BackOff.longestMilliseconds { failures = 0 }
    defer { failures += 1 }
    return failures == 0 ? 0 : min(BackOff.longestMilliseconds, 1000 << min(failures - 1, 10))
  }
}
