// The calls of the driver's: each is counted, may be noted, and is answered as the test wants.

import Transport

extension SessionRig {
  /// What a call of the driver's is answered.
  func meet(_ call: Kernel.Call) -> Kernel.Fault? {
    noteEnd()
    calls += 1
    if let isInSession {
      notes.append(CallNote(call: call))
      before = (waiting(), driver.map(isInSession) ?? false, driver?.record.tls == nil)
    }
    let fault = answer(call, calls)
    if fault != nil { faultsGiven += 1 }
    return fault
  }

  func waiting() -> Waiting {
    let far = helper?.numbers ?? []
    return Waiting(
      near: [clientNumber, serverNumber] + helperNumbers.prefix(2),
      far: [client.end.numbers.first, host.servers.last?.end.numbers.first, far.first, far.dropFirst().first])
  }

  /// What the last call moved shows before the next one.
  func noteEnd() {
    guard let before, !notes.isEmpty else { return }
    self.before = nil
    guard let (subject, isRead) = waiting().subject(since: before.waiting) else { return }
    notes[notes.count - 1].subject = subject
    // The client in clear is peeked at, and before TLS also the helper's control socket.
    let isPeekedAt = subject == .client && host.handoffs == 0 || subject == .helper && before.isInClear
    notes[notes.count - 1].isTake = isRead && isPeekedAt && before.isInSession && notes.last?.call == .recv
  }
}
