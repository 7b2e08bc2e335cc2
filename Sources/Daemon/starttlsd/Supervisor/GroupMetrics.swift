// GroupMetrics: the metrics of all workers of a listener, at one address.
//
// For a request the supervisor asks each worker and puts their samples into one text, with the number of the worker as a label. So a
// worker that is started again begins with zero in series of its own, as rate() expects.
//
// Contract: nothing waits. Workers have two seconds; one that has not answered by then, or not as it should, is left out, and
// starttlsd_worker_up is 0 for it. Requests that come meanwhile get the same text. Failure: an answer that is not used is one warning, see
// RepeatedWarning, unless its worker stops or has ended: that has a line of its own.

import Logging
import Transport

final class GroupMetrics: TimerOwner {
  private static let milliseconds = 2_000

  private unowned let supervisor: Supervisor
  let group: WorkerGroup
  private var socket: ReportSocket?
  private let rejection: RepeatedWarning
  /// Those that wait for the text.
  private var clients: [(client: ReportClient, isBodySent: Bool)] = []
  /// By the numbers of the workers.
  private var reports: [Int: WorkerReport] = [:]
  /// When the workers must have answered; nil if nobody asks.
  private(set) var deadline: Int?
  var scheduled: Int?

  init(_ supervisor: Supervisor, _ group: WorkerGroup, _ held: HeldSocket) throws(SystemError) {
    self.supervisor = supervisor
    self.group = group
    rejection = RepeatedWarning(supervisor.log, supervisor.timers)
    let listener = try Listener(inherited: try held.descriptor.duplicate())
    socket = ReportSocket(supervisor, listener, requestLimit: MetricsSocket.requestLimit) { [unowned self] client, request in
      switch MetricsSocket.answer(request) {
      case nil: return false
      case .response(let octets)?: client.send(octets)
      case .metrics(let isBodySent)?: ask(client, isBodySent)
      }
      return true
    }
  }

  var bound: SocketAddress? { socket?.bound }

  private func ask(_ client: ReportClient, _ isBodySent: Bool) {
    clients.append((client, isBodySent))
    guard deadline == nil else { return }
    deadline = Clock.now() + GroupMetrics.milliseconds
    supervisor.timers.schedule(self)
    let limit = WorkerSamples.limit(workers: group.slots.count)
    for slot in group.slots {
      // One that has not answered before is not asked again.
      guard let worker = slot.worker, worker.isReady, worker.report == nil else { continue }
      let report = try? WorkerReport(supervisor, worker, limit: limit) { [weak self] in self?.answerIfComplete() }
      worker.report = report
      reports[slot.number] = report
    }
    answerIfComplete()
  }

  private func answerIfComplete() {
    if deadline != nil, reports.values.allSatisfy({ $0.state != .pending }) { answer() }
  }

  /// The time is over.
  func ready(now: Int) {
    if let due = deadline, due <= now { answer() }
  }

  private func answer() {
    let asking = clients
    var samples: [Int: WorkerSamples] = [:]
    for (number, report) in reports {
      switch report.state {
      case .complete:
        do throws(WorkerSamples.Rejection) {
          samples[number] = try WorkerSamples(report.octets, worker: number)
        } catch {
          reject(number, report, "\(error)")
        }
      case .tooLong: reject(number, report, "they have more than \(report.limit) octets")
      case .pending, .failed: break
      }
    }
    end()
    let text = text(samples)
    for (client, isBodySent) in asking { client.send(MetricsSocket.response(text, isBodySent: isBodySent)) }
  }

  private func reject(_ number: Int, _ report: WorkerReport, _ reason: String) {
    let now = Clock.now()
    // What it has sent before it closed the connection may not be read yet.
    report.worker?.ready(now: now)
    supervisor.reap(now: now)
    guard let worker = report.worker, !worker.isRetiring, group.slots.contains(where: { $0.worker === worker }) else { return }
    let name = group.settings.name
    let title = "worker \(number)\(name.isEmpty ? "" : " of \(name)")"
    rejection.note("the metrics of \(title) are left out: \(reason): restart starttlsd; if it is repeated, report it", now: now)
  }

  private func end() {
    for report in reports.values { report.isLate = true }
    reports = [:]
    clients = []
    deadline = nil
  }

  private func text(_ samples: [Int: WorkerSamples]) -> String {
    func label(_ slot: WorkerSlot) -> String { MetricsText.labels([("worker", "\(slot.number)")]) }
    var text = MetricsText.text(.workers, [("", "\(group.slots.count)")])
    text += MetricsText.text(.workerUp, group.slots.map { (label($0), samples[$0.number] == nil ? "0" : "1") })
    text += MetricsText.text(.workerRestarts, group.slots.map { ("_total" + label($0), "\($0.restarts)") })
    for family in MetricsFamily.all {
      let lines = group.slots.compactMap { samples[$0.number]?.lines[family.name] }
      // A family without samples stays in the text if it has none in any worker, as in the text of one process.
      guard !lines.isEmpty || family.kind == .counter && !samples.isEmpty else { continue }
      text += family.head + lines.map { String(decoding: $0, as: UTF8.self) }.joined()
    }
    return text + MetricsText.end
  }

  /// The group does not serve any more.
  func close() {
    socket?.close()
    end()
  }
}

extension Supervisor {
  /// The groups have changed: serves the metrics of those that serve now.
  func serveMetrics() {
    for one in metrics where !groups.contains(where: { $0 === one.group }) { one.close() }
    metrics.removeAll { one in !groups.contains { $0 === one.group } }
    for group in groups where !metrics.contains(where: { $0.group === group }) {
      guard let held = group.metrics else { continue }
      do throws(SystemError) {
        let made = try GroupMetrics(self, group, held)
        metrics.append(made)
        let name = group.settings.name
        log.info("metrics at \(made.bound.map { "\($0)" } ?? held.title)\(name.isEmpty ? "" : ", listener \(name)")")
      } catch {
        log.error("\(group.title(held)): \(error): there are no metrics")
      }
    }
  }
}
