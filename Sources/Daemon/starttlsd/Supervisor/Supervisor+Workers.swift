// The starts and ends of workers.

import Glibc
import Logging
import Transport

extension Supervisor {
  /// The descriptors and variables of a worker, and its start.
  func start(_ slot: WorkerSlot, of group: WorkerGroup, now: Int) {
    if slot.restartAt != nil { slot.restarts += 1 }
    slot.restartAt = nil
    checkSockets(now: now)
    // That may have ended the change to which this group belongs.
    guard groups.contains(where: { $0 === group }) || change?.fresh.contains(where: { $0 === group }) ?? false else { return }
    let title = group.title(slot)
    do throws(SystemError) {
      let pair = try MessageSocket.pair()
      var descriptors = group.sockets.map { $0.descriptor.number }
      func added(_ number: CInt?) -> CInt? {
        guard let number else { return nil }
        descriptors.append(number)
        return 2 + CInt(descriptors.count)
      }
      let role = WorkerRole(
        number: slot.number, count: group.settings.workers, channel: added(pair.second.number) ?? -1,
        status: added(slot.status?.descriptor.number))
      var variables = [
        ("LISTEN_FDS", "\(group.sockets.count)"), ("LISTEN_FDNAMES", group.sockets.map(\.name).joined(separator: ":")),
        (WorkerRole.variable, role.text),
      ]
      if let microseconds = environment.watchdogMicroseconds { variables.append(("WATCHDOG_USEC", "\(microseconds)")) }
      let process = try WorkerStart.start(group.program, group.settings.arguments, descriptors: descriptors, variables: variables)
      let channel = SharedDescriptor(pair.takeFirst())
      slot.worker = try Worker(self, process, title, channel: channel, stopMilliseconds: group.plan.stopMilliseconds, now: now)
      log.info("\(title) started, process \(process)")
    } catch {
      log.error("\(title) cannot be started: \(error)")
      ended(slot, served: 0, now: now)
    }
  }

  /// A child has ended.
  func reap(now: Int) {
    while true {
      var status: CInt = 0
      let process = waitpid(-1, &status, WNOHANG)
      if process < 0, errno == EINTR { continue }
      guard process > 0 else { return }
      // Others are children of a worker that was killed, if this process adopts them.
      guard let worker = workers.first(where: { $0.process == process }) else { continue }
      worker.forget()
      ended(worker, WorkerEnd(status), now: now)
    }
  }

  private func ended(_ worker: Worker, _ end: WorkerEnd, now: Int) {
    let text = "\(worker.title), process \(worker.process), \(end.text)"
    if worker.isRetiring {
      retiring.removeAll { $0 === worker }
      log.info("\(text)")
      return
    }
    if let change, let slot = change.slot(of: worker) {
      slot.worker = nil
      return failed(change, "\(text) before all workers were ready", code: end.code, now: now)
    }
    for group in groups {
      for slot in group.slots where slot.worker === worker {
        slot.worker = nil
        ended(slot, served: worker.readyAt.map { now - $0 } ?? 0, now: now)
        let wait = max(0, (slot.restartAt ?? now) - now)
        log.error("\(text): it is started again \(wait == 0 ? "now" : "in \(wait / 1000) s")")
      }
    }
    reloadedIfAll()
  }

  /// A place is empty.
  private func ended(_ slot: WorkerSlot, served: Int, now: Int) {
    if let change, change.slots.contains(where: { $0 === slot }) {
      return failed(change, "worker \(slot.number) cannot be started", code: ExitCode.system, now: now)
    }
    slot.restartAt = now + slot.backOff.ended(afterServing: served)
  }

  /// A worker reports that it stops. If nobody asked for it, another one takes its place while its sessions end. It gets the first
  /// stop too, which has no effect: so the operator's second one is its second one.
  func stopped(_ worker: Worker, now: Int) {
    guard !worker.isRetiring else { return }
    if let change, let slot = change.slot(of: worker) {
      slot.worker = nil
      retire(worker, now: now)
      return failed(change, "\(worker.title), process \(worker.process), stops by itself", code: ExitCode.system, now: now)
    }
    for group in groups {
      for slot in group.slots where slot.worker === worker {
        slot.worker = nil
        retire(worker, now: now)
        ended(slot, served: worker.readyAt.map { now - $0 } ?? 0, now: now)
        log.error("\(worker.title), process \(worker.process), stops by itself: another one takes its place")
      }
    }
  }

  /// Repairs what a worker may have done to the sockets that it shares with the others.
  private func checkSockets(now: Int) {
    socketsCheckedAt = now
    for group in groups + (change?.fresh ?? []) {
      for socket in group.held {
        do throws(SystemError) {
          switch try socket.repair() {
          case .intact: break
          case .repaired: log.error("\(group.title(socket)): a worker has changed the socket: it is repaired")
          case .replaced:
            log.error("\(group.title(socket)): a worker has shut the socket down: it is replaced, and the workers that have it")
            for slot in group.slots where group.uses(socket, slot) {
              guard let worker = slot.worker, change?.slot(of: worker) == nil else { continue }
              slot.worker = nil
              retire(worker, now: now)
              slot.restartAt = now
            }
            for other in passed where other.isSame(as: socket) { try other.replace(by: socket) }
            // The new workers have the old socket. The change can be requested again.
            if let change, change.fresh.contains(where: { $0.held.contains { $0 === socket || $0.isSame(as: socket) } }) {
              failed(change, "\(group.title(socket)): the socket was shut down meanwhile", code: ExitCode.system, now: now)
            }
          }
          socket.isBroken = false
        } catch {
          guard !socket.isBroken else { continue }
          socket.isBroken = true
          log.error("\(group.title(socket)): a worker has changed the socket, and it cannot be repaired: \(error): restart \(socket.holder)")
        }
      }
    }
  }

  // MARK: Time

  /// When `expire` has something to do.
  var nextDeadline: Int? {
    let restarts = groups.flatMap(\.slots).compactMap(\.restartAt)
    let watchdog = environment.watchdogMilliseconds
    let check = isStopping ? nil : socketsCheckedAt + HeldSocket.checkMilliseconds
    let ends = workers.flatMap { [$0.killAt, $0.isRetiring ? nil : $0.watchdogEnd(watchdog)] }.compactMap { $0 }
    return (restarts + ends + [check].compactMap { $0 }).min()
  }

  /// True if a worker is to be killed.
  private func isDue(_ worker: Worker, now: Int) -> Bool {
    let watchdog = worker.isRetiring ? nil : worker.watchdogEnd(environment.watchdogMilliseconds)
    return [worker.killAt, watchdog].contains { due in due.map { $0 <= now } ?? false }
  }

  func expire(now: Int) {
    for worker in workers where isDue(worker, now: now) {
      // What it has sent may not be read yet, if this turn took long.
      worker.ready(now: now)
      guard isDue(worker, now: now) else { continue }
      if let due = worker.killAt, due <= now {
        log.error("\(worker.title), process \(worker.process), \(worker.isRetiring ? "has not ended" : "is not ready"): it is killed")
        worker.killAt = nil
        worker.signal(SIGKILL)
      } else {
        log.error("\(worker.title), process \(worker.process), does not respond: it is killed")
        worker.signal(SIGKILL)
        worker.gaveSign(now: now)
      }
    }
    guard !isStopping else { return }
    if socketsCheckedAt + HeldSocket.checkMilliseconds <= now { checkSockets(now: now) }
    for group in groups {
      for slot in group.slots {
        if let due = slot.restartAt, due <= now { start(slot, of: group, now: now) }
      }
    }
  }
}

/// How a worker ended.
struct WorkerEnd {
  let text: String
  /// The exit code for the supervisor if it ends for this reason.
  let code: CInt

  init(_ status: CInt) {
    if status & 0x7F == 0 {
      let exit = status >> 8 & 0xFF
      text = "exited with code \(exit)"
      code = exit == 0 ? ExitCode.system : exit
    } else {
      text = "was ended by signal \(status & 0x7F)"
      code = ExitCode.system
    }
  }
}
