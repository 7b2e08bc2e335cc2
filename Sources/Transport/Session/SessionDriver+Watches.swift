// The events that a driver waits for.

import CKernel
import Glibc
import SMTPState

/// What to poll a descriptor for: the bits of poll(2), which are the same in epoll(7).
public struct Watch: Hashable, Sendable {
  /// The descriptor's number, which its owner keeps.
  public let descriptor: CInt
  /// POLLIN, POLLOUT, POLLRDHUP. May be 0, since POLLERR and POLLHUP are always reported.
  public let events: CShort

  /// Creates a watch: a descriptor and the events to poll for.
  public init(descriptor: CInt, events: CShort) {
    self.descriptor = descriptor
    self.events = events
  }
}

/// What a driver waits for. Do not poll a descriptor that is not named here: its hang-up is known and would be reported
/// repeatedly.
public struct Watches: Hashable, Sendable {
  /// The client's descriptor; with two descriptors, the one that is read.
  public var client: Watch?
  /// The client's second descriptor, if there are two.
  public var clientOutput: Watch?
  /// The socket to the server.
  public var server: Watch?

  /// Creates an empty set.
  public init() {}
}

extension SessionDriver {
  private static var readable: CShort { CShort(POLLIN) }
  private static var writable: CShort { CShort(POLLOUT) }
  private static var hangUp: CShort { CShort(KERNEL_POLLRDHUP) }

  /// What to poll for now.
  public var watches: Watches {
    var watches = Watches()
    guard state != .finished else { return watches }
    let input = clientInputEvents
    let output = clientOutputEvents
    if let number = stream?.descriptor ?? clear?.inputNumber {
      let other = stream?.outputDescriptor ?? clear?.outputNumber ?? number
      watches.client = Watch(descriptor: number, events: other == number ? input | output : input)
      if other != number { watches.clientOutput = Watch(descriptor: other, events: output) }
    }
    if watches.client?.events == 0 && clientHasHungUp { watches.client = nil }
    if watches.clientOutput?.events == 0 && clientOutputHasHungUp { watches.clientOutput = nil }
    if let number = replacement?.connection?.number ?? server?.number, serverEvents != 0 {
      watches.server = Watch(descriptor: number, events: serverEvents)
    }
    return watches
  }

  /// False if the server's connection is closed, and with it all that was registered for it.
  package var hasServer: Bool { server != nil }

  private var clientInputEvents: CShort {
    switch state {
    case .securing:
      return decrypted.isEmpty ? stream?.direction == .write ? SessionDriver.writable : SessionDriver.readable : 0
    case .session:
      if conversation.phase == .handshaking { return stream?.direction == .write ? SessionDriver.writable : SessionDriver.readable }
      // An event that no step handles is not polled for: it would be reported repeatedly.
      if clientEnded || !hasRoomForReplies || conversation.interest == .drain || wantsClient && !canPullClient { return 0 }
      if stream != nil {
        if !decrypted.isEmpty { return 0 }
        return readWaitsToWrite ? SessionDriver.writable : SessionDriver.readable
      }
      return canPullClient ? SessionDriver.readable : clientHasUnread ? 0 : SessionDriver.hangUp
    case .replaying:
      return 0
    case .relaying:
      if clientEnded || serverBroken || toServer.room == 0 || clientBroken && !hasSeparateOutput { return 0 }
      return readWaitsToWrite ? SessionDriver.writable : SessionDriver.readable
    case .lingering:
      return pendingToClient == 0 && !endWaitsToWrite ? SessionDriver.readable : 0
    case .finished:
      return 0
    }
  }

  private var clientOutputEvents: CShort {
    if clientBroken { return 0 }
    if pendingToClient == 0 { return endWaitsToWrite ? SessionDriver.writable : 0 }
    return writeWaitsToRead ? SessionDriver.readable : SessionDriver.writable
  }

  private var serverEvents: CShort {
    var events: CShort = pendingToServer == 0 || serverBroken ? 0 : SessionDriver.writable
    switch state {
    case .session:
      if serverEnded { return 0 }
      if wantsServer && hasRoomForReplies { events |= SessionDriver.readable }
      if conversation.phase == .handshaking && !serverHasUnread { events |= SessionDriver.hangUp }
    case .replaying:
      return replacement?.replay.toSend.isEmpty == false ? SessionDriver.writable : SessionDriver.readable
    case .relaying:
      if !serverEnded && (clientBroken || toClient.room > 0) { events |= SessionDriver.readable }
    case .securing, .lingering, .finished:
      return 0
    }
    return events
  }

  /// After a turn that moved nothing: records a hang-up that nobody waits for, so that it is not polled for again.
  func noticeHangUp() {
    let watches = watches
    let input = SessionDriver.hangUpEvents(watches.client)
    let output = SessionDriver.hangUpEvents(watches.clientOutput)
    if input != 0 { clientHasHungUp = true }
    if output != 0 { clientOutputHasHungUp = true }
    // A reset, or a pipe without a reader: the client is gone in every phase, whatever it had sent before. What a relay
    // has read is still delivered.
    guard (input | output) & CInt(POLLERR) != 0, !clientBroken else { return }
    loseClient()
    useSteps()
  }

  /// The events that poll reports unrequested for a descriptor that is watched with no events.
  private static func hangUpEvents(_ watch: Watch?) -> CInt {
    guard let watch, watch.events == 0 else { return 0 }
    return (try? Kernel.pollNow(watch.descriptor, 0)) ?? 0
  }
}
