// Worker: a process that serves, as the supervisor sees it.
//
// It reports over its channel with the datagrams of sd_notify(3). They are not trusted: a worker reads what strangers send. They
// can only make the supervisor end or replace that worker.

import Glibc
import Transport

final class Worker: EventOwner {
  private unowned let supervisor: Supervisor
  /// A child of this process that is not reaped: its number is nobody else's.
  let process: pid_t
  /// For messages: `worker 2 of submission`.
  let title: String
  let channel: SharedDescriptor
  /// The time that it may take to end.
  let stopMilliseconds: Int

  private var watch: Watch?
  /// When it was ready; nil before.
  private(set) var readyAt: Int?
  /// True if it takes part in a take-over as this program does it.
  private(set) var offersTakeOver = false
  /// True from SIGHUP until it reports that it is ready again.
  var isReloading = false
  /// True if it accepts no clients any more.
  var isRetiring = false
  /// When it is killed, if it has not ended.
  var killAt: Int?
  /// The request for its metrics that is open.
  var report: WorkerReport?
  private var lastSign: Int

  var isReady: Bool { readyAt != nil }

  /// The time from its start in which it must be ready: the server program is tested meanwhile.
  private static let startMilliseconds = 60_000
  private static let datagramLimit = 4_096
  /// The maximum number of datagrams in one turn.
  private static let batch = 16

  init(
    _ supervisor: Supervisor, _ process: pid_t, _ title: String, channel: SharedDescriptor, stopMilliseconds: Int, readyAt: Int? = nil,
    now: Int
  ) throws(SystemError) {
    self.supervisor = supervisor
    self.process = process
    self.title = title
    self.channel = channel
    self.stopMilliseconds = stopMilliseconds
    self.readyAt = readyAt
    lastSign = now
    if readyAt == nil { killAt = now + Worker.startMilliseconds }
    let wanted = Watch(descriptor: channel.descriptor.number, events: CShort(POLLIN))
    try supervisor.loop.update(nil, to: wanted, for: self)
    watch = wanted
  }

  /// The end of the time in which it must give a sign, with a watchdog.
  func watchdogEnd(_ milliseconds: Int?) -> Int? {
    guard let milliseconds, isReady else { return nil }
    return lastSign + milliseconds
  }

  func ready(now: Int) {
    for _ in 0..<Worker.batch where watch != nil {
      var buffer = [UInt8](repeating: 0, count: Worker.datagramLimit)
      switch buffer.withUnsafeMutableBytes({ channel.descriptor.receive(into: $0) }) {
      case .moved(let count): take(String(decoding: buffer[..<count], as: UTF8.self), now: now)
      case .wouldBlock: return
      // Its end is reported by SIGCHLD.
      case .ended, .failed: return forget()
      }
    }
  }

  private func take(_ text: String, now: Int) {
    lastSign = now
    let lines = text.split(separator: "\n")
    if lines.contains("STOPPING=1") { return supervisor.stopped(self, now: now) }
    guard lines.contains("READY=1") else { return }
    if lines.contains("\(SupervisorState.offer)") { offersTakeOver = true }
    isReloading = false
    if readyAt == nil {
      readyAt = now
      if !isRetiring { killAt = nil }
      supervisor.isReady(self, now: now)
    }
    supervisor.reloadedIfAll()
  }

  /// Stops waiting for its channel.
  func forget() {
    if let watch { supervisor.loop.remove(watch.descriptor) }
    watch = nil
  }

  /// The watchdog begins again.
  func gaveSign(now: Int) { lastSign = now }

  func signal(_ number: CInt) { _ = kill(process, number) }

  /// A stop, as many as there are of the supervisor.
  ///
  /// SIGINT: a service manager may have sent it SIGTERM, and a second one is lost while the first is pending. So the worker counts all
  /// stops of its supervisor.
  func signalStop() { signal(SIGINT) }

  /// Has it end, with its sessions; later it is killed.
  func stop(now: Int) {
    isRetiring = true
    signalStop()
    killAt = killAt.map { min($0, now + stopMilliseconds) } ?? now + stopMilliseconds
  }
}
