// Who moves when, and what is checked after each turn of the driver's.

import PropertyKit
import Glibc
import Transport

extension SessionRig {
  /// Turns of scripts and driver until the driver has finished.
  func goOn(_ driver: SessionDriver) throws {
    var idle = 0
    var faultsBefore = faultsGiven
    while !driver.isFinished {
      let isMoved = stepScripts()
      guard try isReady(driver) else {
        if !isMoved, !(try becomesReady(driver)), !departs() { try expire(driver) }
        idle = 0
        continue
      }
      let (progress, watches) = (progress(driver), driver.watches)
      try turn(driver)
      if isMoved || driver.isFinished || progress != self.progress(driver) || watches != driver.watches {
        idle = 0
        faultsBefore = faultsGiven
      } else {
        idle += 1
      }
      guard idle > 3 else { continue }
      // A kernel that says "ready" and answers "not now" may do so for ever. One that does not lie may not be asked
      // again and again.
      if faultsGiven == faultsBefore { throw Falsified("it spins: \(driver.watches)\n\(outcome())") }
      try expire(driver)
      idle = 0
    }
  }

  /// Nothing moves: the side that is to leave then leaves. False if there is none, or it has left.
  private func departs() -> Bool {
    guard let departure = scenario.departure, departedAt == nil else { return false }
    departedAt = now
    let server = host.servers.last?.end
    switch departure {
    case .clientResets: client.end.reset()
    case .clientCloses: client.end.close()
    case .clientEnds: client.end.shutDown(SHUT_WR)
    case .serverCloses: server?.close()
    case .serverEnds: server?.shutDown(SHUT_WR)
    case .serverStopsReading: server?.shutDown(SHUT_RD)
    case .helperDies: helper?.close()
    }
    return true
  }

  func stepScripts() -> Bool {
    var isMoved = client.step()
    for server in host.servers where server.step() { isMoved = true }
    if helper?.step() == true { isMoved = true }
    return isMoved
  }

  /// What has changed if a turn was of any use. A turn may read a part of a line, which shows only in what waits in the kernel.
  private func progress(_ driver: SessionDriver) -> [Int] {
    [
      driver.record.received, driver.record.sent, host.handoffs, host.aborts.count, host.servers.count,
      driver.record.tls == nil ? 0 : 1, driver.record.end == nil ? 0 : 1,
    ] + waiting().near
  }

  /// Whether a watch of the driver's is ready, or the helper's control socket.
  func isReady(_ driver: SessionDriver, milliseconds: CInt = 0) throws -> Bool {
    let watches = driver.watches
    var entries = [watches.client, watches.clientOutput, watches.server].compactMap { watch in
      watch.map { pollfd(fd: $0.descriptor, events: $0.events, revents: 0) }
    }
    let control = host.watchedControl
    if let control { entries.append(pollfd(fd: control, events: CShort(POLLIN), revents: 0)) }
    guard poll(&entries, nfds_t(entries.count), milliseconds) > 0 else { return false }
    if let closed = entries.first(where: { $0.revents & CShort(POLLNVAL) != 0 }) {
      throw Falsified("\(closed.fd) is watched and not open\n\(outcome())")
    }
    if control != nil, entries.last?.revents != 0, !host.isTLSAvailable() { driver.withdrawTLS() }
    return true
  }

  /// Over TCP even the loopback may be late: before a timer fires it gets a moment.
  func becomesReady(_ driver: SessionDriver) throws -> Bool {
    guard scenario.medium == .tcp else { return false }
    if try isReady(driver, milliseconds: 20) { return true }
    return stepScripts()
  }

  func turn(_ driver: SessionDriver) throws {
    turns += 1
    guard turns <= SessionRig.turnsLimit else { throw Falsified("no end in sight\n\(outcome())") }
    driver.turn(now: now)
    try followUp(driver)
  }

  /// Nothing moves: time passes until the driver's deadline.
  func expire(_ driver: SessionDriver) throws {
    guard let deadline = driver.deadline else { throw Falsified("no deadline: it would wait for ever\n\(outcome())") }
    if deadline > now { try checkWatches(driver) }
    now = max(now, deadline)
    if !driver.isFinished { try turn(driver) }
  }

  /// What nothing reports cannot be done: a turn without a reason must come to nothing.
  private func checkWatches(_ driver: SessionDriver) throws {
    let (progress, watches) = (progress(driver), driver.watches)
    try turn(driver)
    // Over TCP something may just have arrived, and after a fault the driver may not have seen what was there.
    guard scenario.medium != .tcp, faultsGiven == 0 else { return }
    if progress != self.progress(driver) { throw Falsified("a watch is missing: \(watches)\n\(outcome())") }
  }

  /// After each turn.
  func followUp(_ driver: SessionDriver) throws {
    noteEnd()
    if let watch = driver.watches.server { serverNumber = watch.descriptor }
    bystanders.takeOne()
    try checkFlags()
  }

  /// The status flags are as at the start; from the handoff on they may be more blocking.
  func checkFlags() throws {
    for number in [clientNumber, helper?.clientNumber ?? -1] where FileIdentity(number) == clientIdentity {
      let flags = fcntl(number, F_GETFL)
      let isAllowed = flags == startFlags || host.handoffs > 0 && flags == startFlags & ~O_NONBLOCK
      if !isAllowed { throw Falsified("status flags were \(startFlags), are \(flags)\n\(outcome())") }
    }
  }
}
