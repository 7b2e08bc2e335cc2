// Supervisor: starttlsd as the parent of several workers, each a starttlsd of its own with its helpers.
//
// It binds the sockets, starts the workers, starts one again that has ended, passes signals on, and hands over to a new program
// (SIGUSR2), and serves the metrics of all workers. It reads no octet of a client; what a worker reports is not trusted, see Worker
// and WorkerSamples.
//
// Contract: a listening socket is open from the start of the supervisor to its stop, whatever happens to the workers, so no client
// is refused meanwhile. If the supervisor ends in any way, its workers stop as after SIGTERM.
//
// Failure: a worker that ends before all are ready for the first time ends all, with its exit code. Later it is started again, see
// BackOff.
//
// Parts: Supervisor+Workers (starts and ends), Supervisor+Changes (start, reload, take-over), ListenerLookup (reads the
// configuration for them), SupervisorState (what a take-over passes on), HeldSocket, WorkerGroup, Worker, WorkerStart, GroupMetrics.

import Glibc
import Logging
import ProgramSupport
import Transport

final class Supervisor {
  let loop: EventLoop
  let timers = Timers()
  let log: Logger
  let queue: LogQueue
  let notification: ServiceNotification
  let environment: ServiceEnvironment
  let program: ProgramFile
  /// Reads the listeners again; nil if they are those of the command line.
  let reading: (() throws -> [ListenerSettings])?
  /// The sockets of a service manager: those of the only listener, or, with a configuration file, of all listeners.
  var passed: [HeldSocket] = []
  /// The listeners that serve.
  var groups: [WorkerGroup] = []
  /// Workers that accept no clients any more.
  var retiring: [Worker] = []
  /// nil if everything is as it was asked for.
  var change: Change?
  /// The configuration is being read for a change; nil if none is.
  var lookup: ListenerLookup?
  /// The metrics of the groups that serve.
  var metrics: [GroupMetrics] = []
  /// True if SIGHUP was received in a change.
  var isReloadWanted = false
  /// True from the SIGHUP until all workers have loaded the configuration.
  var isReloading = false
  private(set) var isStopping = false
  /// When the sockets were examined, see HeldSocket.repair.
  var socketsCheckedAt = 0
  /// Why all end.
  private(set) var failure: ConfigurationError?
  private var signals: SupervisorSignals?

  /// Runs listeners until a signal stops them.
  ///
  /// - Parameters:
  ///   - listeners: at least one. After a take-over those count that the previous program had.
  ///   - reading: reads them again for SIGHUP and SIGUSR2; nil if they cannot change.
  static func run(_ listeners: [ListenerSettings], reading: (() throws -> [ListenerSettings])? = nil) throws {
    Signals.prepare()
    let program = ProgramFile()
    let environment = ServiceEnvironment()
    var state = try SupervisorState.take()
    guard let first = state?.listeners.first ?? listeners.first else { throw ConfigurationError.usage("there is no listener: name one") }
    let command = try ListenerPlan.command(first)
    var options = command.serviceManager
    // It has had its newline.
    if state != nil { options.notificationDescriptor = nil }
    // The addresses in a file say which socket is whose.
    let addresses = reading == nil ? command.listen + command.implicit.listenTLS : []
    let passedDescriptors = state == nil ? try PassedDescriptors.take(options, listen: addresses) : PassedDescriptors()
    let notification = try ServiceNotification(options, passedDescriptors)
    let queue = try LogQueue(command.logging)
    defer { queue.finish() }
    let supervisor = try Supervisor(notification, queue, environment, program, reading)
    if state != nil {
      try state.map { try supervisor.resume($0) }
      // It has the sockets, which close with their listeners.
      state = nil
    } else {
      supervisor.passed = try HeldSocket.passed(passedDescriptors)
      try supervisor.begin(listeners)
    }
    try supervisor.serve()
  }

  private init(
    _ notification: ServiceNotification, _ queue: LogQueue, _ environment: ServiceEnvironment, _ program: ProgramFile,
    _ reading: (() throws -> [ListenerSettings])?
  ) throws(SystemError) {
    loop = try EventLoop()
    self.notification = notification
    self.queue = queue
    self.environment = environment
    self.program = program
    self.reading = reading
    notification.slowReload = "not all workers have loaded the configuration yet: they do so as soon as they can"
    log = Logger(label: "starttlsd") { _ in QueuedLogHandler(queue) }
    signals = try SupervisorSignals(self)
    queue.attach(loop, timers)
    if let trouble = notification.trouble { log.warning("\(trouble)") }
  }

  private func serve() throws {
    while !(isStopping && workers.isEmpty) {
      try loop.wait(until: [timers.earliest, nextDeadline].compactMap { $0 }.min())
      let now = Clock.now()
      timers.expire(now: now)
      expire(now: now)
    }
    log.info("stopped")
    if let failure { throw failure }
  }

  /// All that run.
  var workers: [Worker] { groups.flatMap(\.workers) + (change?.fresh.flatMap(\.workers) ?? []) + retiring }

  /// One line for the service manager.
  var statusText: String {
    if isStopping { return "Stopping: \(workers.count) workers" }
    return "Listening on \(groups.reduce(0) { $0 + $1.sockets.count }) sockets with \(groups.reduce(0) { $0 + $1.slots.count }) workers"
  }

  /// SIGTERM or SIGINT was received.
  func stop(now: Int) {
    guard !isStopping else {
      for worker in workers { worker.signalStop() }
      return
    }
    log.info("stopping: \(workers.count) workers")
    stopAll(now: now)
  }

  /// Ends everything with an error.
  func fail(_ error: ConfigurationError, now: Int) {
    failure = error
    stopAll(now: now)
  }

  private func stopAll(now: Int) {
    isStopping = true
    for worker in groups.flatMap(\.workers) + (change?.fresh.flatMap(\.workers) ?? []) { retire(worker, now: now) }
    // Closes the sockets: a client must not wait in a queue that nobody reads.
    groups = []
    serveMetrics()
    change = nil
    lookup?.cancel()
    lookup = nil
    passed = []
    notification.stopping(statusText)
  }

  /// A worker is not needed any more.
  func retire(_ worker: Worker, now: Int) {
    worker.stop(now: now)
    retiring.append(worker)
  }
}
