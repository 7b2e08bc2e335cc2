// Start, reload and take-over: changes of the workers that serve.

import Glibc
import Logging
import ProgramSupport
import Transport

extension Supervisor {
  /// The first start.
  func begin(_ listeners: [ListenerSettings]) throws(ConfigurationError) {
    let groups = try planned(plans(listeners), program: WorkerStart.ownProgram) { _ in nil }.all
    begin(Change(.start, groups, fresh: groups), now: Clock.now())
  }

  private func begin(_ change: Change, now: Int) {
    self.change = change
    for group in change.fresh where self.change === change { start(group.slots[0], of: group, now: now) }
  }

  /// A worker serves.
  func isReady(_ worker: Worker, now: Int) {
    guard let change else { return }
    for group in change.fresh where group.slots[0].worker === worker {
      for slot in group.slots.dropFirst() where self.change === change { start(slot, of: group, now: now) }
    }
    if self.change === change, change.isReady { complete(change, now: now) }
  }

  /// A change is not possible.
  func failed(_ change: Change, _ text: String, code: CInt, now: Int) {
    guard self.change === change else { return }
    switch change.purpose {
    case .start: return fail(ConfigurationError(description: text, code: code), now: now)
    case .reload: log.error("SIGHUP: \(text): the listeners stay as they were")
    case .takeOver: log.error("SIGUSR2: \(text): \(program.path) does not take over, the workers stay as they were")
    }
    self.change = nil
    for worker in change.fresh.flatMap(\.workers) { retire(worker, now: now) }
    changed(now: now)
  }

  private func complete(_ change: Change, now: Int) {
    switch change.purpose {
    case .start:
      groups = change.groups
      self.change = nil
      serveMetrics()
      log.info("\(groups.reduce(0) { $0 + $1.slots.count }) workers serve")
      notification.ready(statusText, log, timers: timers, now: now)
    case .reload: replace(change, now: now)
    case .takeOver:
      guard change.fresh.flatMap(\.workers).allSatisfy(\.offersTakeOver) else {
        return failed(change, "it is another version, which cannot continue: stop starttlsd and start it", code: 0, now: now)
      }
      // Blocked: the new program receives it, or this one if that cannot be executed.
      if isReloadWanted { kill(getpid(), SIGHUP) }
      isReloadWanted = false
      let error = execute(change)
      return failed(change, "\(error)", code: 0, now: now)
    }
    changed(now: now)
  }

  private func replace(_ change: Change, now: Int) {
    let old = groups.filter { group in !change.groups.contains { $0 === group } }
    groups = change.groups
    self.change = nil
    serveMetrics()
    for worker in old.flatMap(\.workers) { retire(worker, now: now) }
    log.notice("SIGHUP: the listeners are as the configuration has them: \(change.fresh.count) changed, \(groups.count) in all")
  }

  /// No change is under way any more.
  private func changed(now: Int) {
    reloadedIfAll()
    guard isReloadWanted, !isStopping else { return }
    isReloadWanted = false
    reload(now: now)
  }

  // MARK: Reload

  /// SIGHUP was received.
  func reload(now: Int) {
    guard !isStopping else { return }
    guard change == nil, lookup == nil else {
      isReloadWanted = true
      return
    }
    isReloading = true
    notification.reloading(statusText, now: now)
    // In any case, also if the configuration is faulty: certificates are renewed.
    for worker in groups.flatMap(\.workers) {
      worker.isReloading = worker.isReady
      worker.signal(SIGHUP)
    }
    lookUp(.reload, now: now)
    reloadedIfAll()
  }

  /// The plans of the configuration after SIGHUP.
  private func reload(_ plans: [ListenerPlan], now: Int) throws(ConfigurationError) {
    let (all, fresh) = try planned(plans, program: WorkerStart.ownProgram) { [groups] plan in groups.first { $0.settings == plan.settings } }
    if !fresh.isEmpty {
      begin(Change(.reload, all, fresh: fresh), now: now)
    } else if all.count < groups.count {
      replace(Change(.reload, all, fresh: []), now: now)
    }
  }

  /// Reports the end of a reload, if it is one.
  func reloadedIfAll() {
    guard isReloading, change == nil, lookup == nil, !groups.flatMap(\.workers).contains(where: \.isReloading) else { return }
    isReloading = false
    notification.reloaded(statusText)
  }

  /// The listeners as they are wanted now.
  private func read() throws(ConfigurationError) -> [ListenerSettings] {
    guard let reading else { return groups.map(\.settings) }
    do {
      let listeners = try reading()
      guard !listeners.isEmpty else { throw ConfigurationError.usage("there is no listener") }
      return listeners
    } catch let error as ConfigurationError {
      throw error
    } catch {
      throw .usage("\(error)")
    }
  }

  private func plans(_ listeners: [ListenerSettings]) throws(ConfigurationError) -> [ListenerPlan] {
    // Without a file there is one listener, which has the sockets that were passed.
    var passedDescriptors = PassedDescriptors()
    passedDescriptors.hasOtherSockets = reading == nil && !passed.isEmpty
    return try listeners.map { (settings) throws(ConfigurationError) in try ListenerPlan(settings, passedDescriptors) }
  }

  /// Reads the configuration for a change, in another process.
  private func lookUp(_ purpose: Change.Purpose, now: Int) {
    do throws(ConfigurationError) {
      lookup = try ListenerLookup(self, purpose, now: now) { () throws(ConfigurationError) in try plans(read()) }
    } catch {
      refuse(purpose, error.description)
    }
  }

  /// The configuration was read, or could not be.
  func found(_ answer: Result<[ListenerPlan], ConfigurationError>, _ purpose: Change.Purpose, now: Int) {
    lookup = nil
    do throws(ConfigurationError) {
      let plans = try answer.get()
      if purpose == .takeOver { try takeOver(plans, now: now) } else { try reload(plans, now: now) }
    } catch {
      refuse(purpose, error.description)
    }
    if change == nil { changed(now: now) }
  }

  /// A change cannot begin.
  private func refuse(_ purpose: Change.Purpose, _ text: String) {
    switch purpose {
    case .start, .reload: log.error("SIGHUP: \(text): the listeners stay as they were")
    case .takeOver: log.error("SIGUSR2: \(text): the workers stay as they were")
    }
  }

  /// The groups for listeners; existing sockets are used again.
  ///
  /// - Parameter kept: the group that serves a listener already and stays.
  private func planned(
    _ plans: [ListenerPlan], program: String, kept: (ListenerPlan) -> WorkerGroup?
  ) throws(ConfigurationError) -> (all: [WorkerGroup], fresh: [WorkerGroup]) {
    let ofOne = reading == nil ? passed : []
    let plans = plans.map { plan in (plan: plan, kept: kept(plan)) }
    let staying = plans.compactMap(\.kept)
    var pool = groups.filter { group in !staying.contains { $0 === group } }.flatMap(\.held)
    if ofOne.isEmpty, !passed.isEmpty { pool = try HeldSocket.matched(passed, to: plans.map(\.plan)) + pool }
    var all: [WorkerGroup] = []
    var fresh: [WorkerGroup] = []
    for (plan, kept) in plans {
      if let kept {
        all.append(kept)
        continue
      }
      let group = try WorkerGroup.planned(plan, pool: &pool, passed: ofOne, program: program)
      fresh.append(group)
      all.append(group)
    }
    return (all, fresh)
  }

  // MARK: Take-over

  /// SIGUSR2 was received: workers of the program that is on the disk now are started. When they serve, this process executes that
  /// program too, with its number and its sockets, and the old workers end with their sessions.
  func takeOver(now: Int) {
    guard !isStopping else { return }
    guard change == nil, lookup == nil else { return log.warning("SIGUSR2: another change of the workers has not ended: send it again later") }
    guard access(program.path, X_OK) == 0 else { return refuse(.takeOver, "\(program.path): \(SystemError.last("access"))") }
    lookUp(.takeOver, now: now)
  }

  private func takeOver(_ plans: [ListenerPlan], now: Int) throws(ConfigurationError) {
    let groups = try planned(plans, program: program.path) { _ in nil }.all
    log.notice("SIGUSR2: \(program.path) takes over")
    begin(Change(.takeOver, groups, fresh: groups), now: now)
  }

  /// Executes the new program in this process. It returns only if that fails.
  private func execute(_ change: Change) -> SystemError {
    let held = change.groups.flatMap(\.held)
    let dropped = groups.flatMap(\.held).filter { socket in !held.contains { $0 === socket } }
    do throws(SystemError) {
      return try SupervisorState.pass(
        change.groups, passed: passed, unused: dropped.compactMap(\.file), retiring: retiring + groups.flatMap(\.workers), environment, to: program.path, log: queue)
    } catch {
      return error
    }
  }

  /// The new program continues.
  func resume(_ state: SupervisorState) throws(SystemError) {
    let now = Clock.now()
    groups = try state.groups(self, now: now)
    passed = state.passed
    // A socket of the new workers may have the name of an old one, and the kernel may use the number of a file again.
    let files = groups.flatMap(\.held).compactMap(\.file)
    for file in state.unused where !files.contains(file) { file.remove() }
    serveMetrics()
    // Those that were retiring end their sessions: a second SIGTERM would cut them off.
    for worker in try state.old(self, now: now) {
      if worker.isRetiring { retiring.append(worker) } else { retire(worker, now: now) }
    }
    log.notice(
      "starttlsd \(Version.text) has taken over: \(groups.flatMap(\.workers).count) workers serve, \(retiring.count) old ones end with their sessions")
    notification.ready(statusText, log, timers: timers, now: now)
    // Those that ended in between have sent their signal to the old program.
    reap(now: now)
  }
}
