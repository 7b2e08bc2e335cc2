// What a driver waits for: events and a point in time.

import CKernel
import Glibc
import SMTPState

/// What to poll a descriptor for: the bits of poll(2), which are those of epoll(7) as well.
public struct Watch: Hashable, Sendable {
  /// The descriptor's number, which stays its owner's.
  public let descriptor: CInt
  /// POLLIN, POLLOUT, POLLRDHUP; may be 0, since POLLERR and POLLHUP come unasked.
  public let events: CShort

  /// A descriptor, and what to poll it for.
  public init(descriptor: CInt, events: CShort) {
    self.descriptor = descriptor
    self.events = events
  }
}

/// What a driver waits for. A descriptor that is not named must not be polled at all: its hang-up is known, and would be
/// reported again and again.
public struct Watches: Hashable, Sendable {
  /// The client's descriptor, or the one of two that is read.
  public var client: Watch?
  /// The client's second descriptor, where there are two.
  public var clientOutput: Watch?
  /// The socket to the server.
  public var server: Watch?

  /// Nothing is waited for.
  public init() {}
}

extension Driver {
  private static var readable: CShort { CShort(POLLIN) }
  private static var writable: CShort { CShort(POLLOUT) }
  private static var hangUp: CShort { CShort(KERNEL_POLLRDHUP) }

  /// What to poll for.
  public var watches: Watches {
    var watches = Watches()
    guard state != .finished else { return watches }
    let input = clientInputEvents
    let output = clientOutputEvents
    if let number = stream?.descriptor ?? clear?.inputNumber {
      let other = stream?.outputDescriptor ?? clear?.outputNumber ?? number
      watches.client = Watch(descriptor: number, events: other == number ? input | output : input)
      // A pipe without a reader says so for as long as it is polled; the next write hears of it.
      if other != number, output != 0 { watches.clientOutput = Watch(descriptor: other, events: output) }
    }
    if watches.client?.events == 0 && clientHasHungUp { watches.client = nil }
    if let number = server?.number, serverEvents != 0 {
      watches.server = Watch(descriptor: number, events: serverEvents)
    }
    return watches
  }

  private var clientInputEvents: CShort {
    switch state {
    case .session:
      if session.phase == .handshaking { return stream?.direction == .write ? Driver.writable : Driver.readable }
      // What a step does not look at is not polled for: it would be reported again and again.
      if clientEnded || !hasRoomForReplies || session.interest == .drain || wantsClient && !canPullClient { return 0 }
      if stream != nil {
        if !decrypted.isEmpty { return 0 }
        return readWaitsToWrite ? Driver.writable : Driver.readable
      }
      return canPullClient ? Driver.readable : clientHasUnread ? 0 : Driver.hangUp
    case .relaying:
      if clientEnded || clientBroken || serverBroken || toServer.room == 0 { return 0 }
      return readWaitsToWrite ? Driver.writable : Driver.readable
    case .lingering:
      return toClient.isEmpty ? Driver.readable : 0
    case .finished:
      return 0
    }
  }

  private var clientOutputEvents: CShort {
    if toClient.isEmpty || clientBroken { return 0 }
    return writeWaitsToRead ? Driver.readable : Driver.writable
  }

  private var serverEvents: CShort {
    var events: CShort = toServer.isEmpty || serverBroken ? 0 : Driver.writable
    switch state {
    case .session:
      if serverEnded { return 0 }
      if wantsServer && hasRoomForReplies { events |= Driver.readable }
      if session.phase == .handshaking && !serverHasUnread { events |= Driver.hangUp }
    case .relaying:
      if !serverEnded && !clientBroken && toClient.room > 0 { events |= Driver.readable }
    case .lingering, .finished:
      return 0
    }
    return events
  }

  /// Behind a turn: a hang-up that nobody waits for is noticed, so that it is not polled for again and again.
  func noticeHangUp() {
    guard state != .finished, !clientHasHungUp, let watch = watches.client, watch.events == 0 else { return }
    guard let events = try? Kernel.pollNow(watch.descriptor, 0), events != 0 else { return }
    if events & CInt(POLLERR) != 0 {
      // A reset: the client is gone in every phase, whatever it had sent before. What a relay read is still delivered.
      clientBroken = true
      while step() {}
    }
    clientHasHungUp = true
  }

  // MARK: Timers

  /// When to call `turn` at the latest, in `Clock` milliseconds; nil only when finished.
  public var deadline: Int? {
    guard state != .finished else { return nil }
    // The last turn ended with more to do, which poll may not see: deciphered octets inside the TLS layer.
    if stepsLeft == 0 { return now }
    var earliest = Int.max
    if let armedUntil { earliest = min(earliest, armedUntil) }
    if let ownUntil { earliest = min(earliest, ownUntil) }
    if state == .session && !session.isClearPhaseOver { earliest = min(earliest, clearPhaseUntil) }
    return earliest == Int.max ? nil : earliest
  }

  /// Starts the session's timer anew.
  func arm() {
    armed = session.deadline
    armedUntil = policy.milliseconds(of: armed).map { now + $0 }
  }

  /// Starts it anew if another kind runs now.
  func rearmIfChanged() {
    if session.deadline != armed { arm() }
  }

  /// Whether the client has to take output before anything else can happen.
  private var isStalled: Bool {
    !hasRoomForReplies || session.interest == .drain && !toClient.isEmpty
  }

  /// Acts on the timers that have passed; true if one did, so that there may be more to do.
  func expire() -> Bool {
    switch state {
    case .session: return expireSession()
    case .relaying:
      if let ownUntil, now >= ownUntil { return finish(.relayIdle) }
    case .lingering:
      if let ownUntil, now >= ownUntil { return finish(.outputStalled) }
    case .finished: break
    }
    return false
  }

  private func expireSession() -> Bool {
    if isStalled {
      let until = ownUntil ?? now + timeouts.outputStalledMilliseconds
      ownUntil = until
      armedUntil = nil
      if now >= until { return finish(.outputStalled) }
    } else {
      ownUntil = nil
      if armedUntil == nil { arm() }
    }
    if let armedUntil, now >= armedUntil {
      act(session.expired(armed))
      return true
    }
    if !session.isClearPhaseOver && now >= clearPhaseUntil {
      act(session.expired(.clearPhase))
      return true
    }
    return false
  }
}
