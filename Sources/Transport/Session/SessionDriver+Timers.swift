// The deadline of a driver, and what happens when a timer expires.

import Glibc
import SMTPState

extension SessionDriver {
  /// When to call `turn` at the latest, in `Clock` milliseconds; nil if the session is finished or no timer runs.
  public var deadline: Int? {
    guard state != .finished else { return nil }
    // The last turn stopped with more work to do. Poll may not show it: decrypted octets inside the TLS layer.
    if stepsLeft <= 0 { return now }
    var earliest = Int.max
    func take(_ time: Int?) {
      if let time { earliest = min(earliest, time) }
    }
    switch state {
    case .securing:
      take(ownUntil)
      take(sessionUntil)
    case .session:
      take(armedUntil)
      if !conversation.isClearPhaseOver { take(clearPhaseUntil) }
      take(stalled.until)
      take(sessionUntil)
    case .replaying:
      take(ownUntil)
      if !conversation.isClearPhaseOver { take(clearPhaseUntil) }
      take(sessionUntil)
    case .relaying:
      take(ownUntil)
      if record.sent == 0 { take(greetingUntil) }
      if ownUntil == nil {
        take(idle.until)
        take(stalled.until)
      }
      take(sessionUntil)
    case .lingering: take(ownUntil)
    case .finished: break
    }
    return earliest == Int.max ? nil : earliest
  }

  /// Starts the conversation's timer again.
  func arm() {
    armed = conversation.deadline
    armedStart = conversation.timerStarts
    armedUntil = armed.map { Clock.time(policy.milliseconds(of: $0), after: now) }
  }

  /// True if the client has to take output before anything else can happen.
  private var isStalled: Bool {
    !hasRoomForReplies || conversation.interest == .drain && pendingToClient > 0
  }

  private func expire(_ timer: SMTPSession.Deadline) {
    conversation.timerExpired(timer)
    carryOutDecisions()
  }

  /// Handles expired timers; true if one expired, so that there may be more work.
  func expire() -> Bool {
    switch state {
    case .securing: expireSecuring()
    case .session: expireSession()
    case .replaying: expireReplaying()
    case .relaying: expireRelay()
    case .lingering: hasPassed(ownUntil) && finish(.outputStalled)
    case .finished: false
    }
  }

  private func hasPassed(_ time: Int?) -> Bool { time.map { now >= $0 } ?? false }

  private func expireSession() -> Bool {
    if hasPassed(sessionUntil) { return endSession() }
    if stalled.hasPassed(now: now) { return finish(.outputStalled) }
    if isStalled {
      armedUntil = nil
    } else if armedUntil == nil {
      arm()
    }
    if let armed, hasPassed(armedUntil) {
      expire(armed)
      return true
    }
    if !conversation.isClearPhaseOver && now >= clearPhaseUntil {
      expire(.clearPhase)
      return true
    }
    return false
  }

  private func expireRelay() -> Bool {
    if expireGreeting() { return true }
    if hasPassed(ownUntil) { return finish(.clientLost) }
    if hasPassed(sessionUntil) { return finish(.sessionTimeout) }
    guard ownUntil == nil else { return false }
    if stalled.hasPassed(now: now) { return finish(.outputStalled) }
    if idle.hasPassed(now: now) { return finish(.relayIdle) }
    return false
  }

  /// The session timeout has passed: the client gets the reply that belongs to the running timer.
  private func endSession() -> Bool {
    if let timer = conversation.deadline { expire(timer) }
    guard state == .lingering else { return finish(.sessionTimeout) }
    record.end = .sessionTimeout
    return true
  }
}
