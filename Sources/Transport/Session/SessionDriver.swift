// SessionDriver: carries a session's commands out on descriptors.
//
// One driver binds one `Session` to a client and a server. It never waits and knows no event loop: `watches` says what
// it waits for, `deadline` until when, and `turn` makes all the progress that is possible now. A program with one
// connection runs it under poll, one with thousands under epoll; the event masks are the same.
//
// Promises kept here: no status flag is ever set (each call asks not to wait, see Sockets.swift); in clear not one octet
// is read that the session did not consume; all that was read from one side is written before the other is closed.
//
// The rest of it: SessionDriver+Commands (what each command does), SessionDriver+Pull (how octets get to the session), SessionDriver+Output
// (writing), SessionDriver+Relay, SessionDriver+Linger (the end), SessionDriver+ShutDown (the program stops), SessionDriver+Timers (what it waits for).

import CKernel
import Glibc
public import SMTPState

/// One session at work.
///
/// ```swift
/// let driver = SessionDriver(policy: policy, timeouts: timeouts, client: client, server: socket, host: host, now: Clock.now())
/// while !driver.isFinished {
///   poll(driver.watches, until: driver.deadline)
///   driver.turn(now: Clock.now())
/// }
/// ```
public final class SessionDriver {
  /// The timers that are not the session's, in milliseconds.
  public struct Timeouts: Hashable, Sendable {
    /// While the client does not take its output. It starts again when the client has taken everything, or 4,096 octets.
    public var outputStalledMilliseconds = 300_000
    /// While too little moves in a relay: it starts again when 64 octets have moved. Longer than the 10 minutes that a
    /// client waits after its final dot.
    public var relayIdleMilliseconds = 660_000
    /// For the session as a whole, the relay included; 0: no limit.
    public var sessionMilliseconds = 86_400_000
    /// For the client's end after the last octet sent to it, so that a reset does not take that octet back.
    public var lingerMilliseconds = 2_000
    /// For the server to take what was read from a client whose connection broke in a relay.
    public var clientLostMilliseconds = 10_000

    /// The defaults.
    public init() {}
  }

  /// What the driver is doing.
  enum State {
    /// The session says what happens.
    case session
    /// Octets are copied both ways.
    case relaying
    /// All was said; what the client still sends is discarded until its end.
    case lingering
    case finished
  }

  let policy: SMTPSession.Policy
  let timeouts: Timeouts
  unowned let host: any SessionHost

  var session: SMTPSession
  var state = State.session

  var clear: PlaintextClient?
  var stream: (any TLSStream)?
  var server: ServerConnection?
  /// What the session calls the server: a restart brings another one.
  var serverParty = SMTPSession.Party.server

  // The holds of Command.swift, and what the kernel has not taken yet.
  var clientHold: ByteQueue
  var replyHold: ByteQueue
  var earlierHold: ByteQueue
  var toClient: ByteQueue
  var toServer: ByteQueue
  /// Decrypted octets that the session has not consumed.
  var decrypted = ByteQueue(capacity: SessionDriver.queueCapacity)
  var window = Window()

  /// The client's and the server's input is over.
  var clientEnded = false
  var serverEnded = false
  /// Ours to them is over.
  var clientOutputEnded = false
  var serverOutputEnded = false
  /// The client has unread octets while it is not wanted, so that its end cannot be seen: do not poll for it.
  var clientHasUnread = false
  /// The server has said something during the handshake that nobody asked for: likewise.
  var serverHasUnread = false
  /// The same for a hang-up of the client, which poll reports unasked, and of its second descriptor.
  var clientHasHungUp = false
  var clientOutputHasHungUp = false
  /// The client's or the server's connection takes nothing more.
  var clientBroken = false
  var serverBroken = false
  /// A write of the TLS layer waits to read, or a read to write.
  var writeWaitsToRead = false
  var readWaitsToWrite = false
  /// The end of our half waits until the kernel takes the TLS layer's close_notify.
  var endWaitsToWrite = false
  /// The client's connection broke in the relay, and the server is given a last moment.
  var isLeavingRelay = false
  /// The verb that was forwarded last.
  var lastVerb = SMTPSession.Verb.other
  /// Octets thrown away while lingering.
  var discarded = 0

  /// The session's running timer and when it passes.
  var armed: SMTPSession.Deadline?
  var armedUntil: Int?
  let clearPhaseUntil: Int
  /// The driver's own timers: output that the client does not take, and a relay in which too little moves.
  var stalled: ProgressTimer
  var idle: ProgressTimer
  /// The end of the state: lingering, or a relay whose client is gone.
  var ownUntil: Int?
  /// The end of the session; nil if it has none.
  let sessionUntil: Int?
  var now: Int
  /// Steps that this turn may still make: others wait for their turns.
  var stepsLeft = SessionDriver.stepsLimit
  private static var stepsLimit: Int { 64 }
  /// What a read inside TLS costs in addition.
  static var stepsOfRead: Int { 15 }

  /// What happened so far.
  public internal(set) var record: SessionRecord

  /// How many octets wait for one side at most, if no line may be so long that it needs more.
  static var queueCapacity: Int { 65_536 }
  /// Room for whatever one more line can lead to: two reply lines and a reply of ours.
  private let replyRoom: Int
  /// Room for a client's line, or for a command of ours.
  private let commandRoom: Int

  /// Starts a session over a connection whose server has been started.
  ///
  /// - Parameters:
  ///   - policy: what the session allows.
  ///   - timeouts: the timers that are not the policy's.
  ///   - client: the client's connection, nothing of which was read.
  ///   - server: a socket to the server, whose description nobody else reads or writes through.
  ///   - host: the program around the session; it has to outlive the driver, which does not keep it.
  ///   - now: `Clock.now()`.
  public init(
    policy: SMTPSession.Policy, timeouts: Timeouts, client: consuming PlaintextClient, server: consuming Descriptor,
    host: any SessionHost, now: Int
  ) {
    self.policy = policy
    self.timeouts = timeouts
    self.host = host
    session = SMTPSession(policy)
    clear = consume client
    self.server = ServerConnection(server)
    replyRoom = 2 * (policy.replyHoldCapacity + 2) + 128
    commandRoom = max(policy.clientHoldCapacity + 2, 128)
    toClient = ByteQueue(capacity: max(SessionDriver.queueCapacity, replyRoom))
    toServer = ByteQueue(capacity: max(SessionDriver.queueCapacity, commandRoom))
    clientHold = ByteQueue(capacity: policy.clientHoldCapacity)
    replyHold = ByteQueue(capacity: policy.replyHoldCapacity)
    earlierHold = ByteQueue(capacity: policy.replyHoldCapacity)
    clearPhaseUntil = Clock.time(policy.clearPhaseTimeoutMilliseconds, after: now)
    stalled = ProgressTimer(milliseconds: timeouts.outputStalledMilliseconds, leastOctets: 4_096)
    idle = ProgressTimer(milliseconds: timeouts.relayIdleMilliseconds, leastOctets: 64)
    sessionUntil = timeouts.sessionMilliseconds > 0 ? Clock.time(timeouts.sessionMilliseconds, after: now) : nil
    record = SessionRecord(startedAt: now)
    self.now = now
    arm()
  }

  /// Whether everything has ended: nothing is owned any more.
  public var isFinished: Bool { state == .finished }

  /// TLS cannot be had any more: STARTTLS is no longer listed. Behind the 220 it changes nothing. Not from within a turn.
  public func withdrawTLS() {
    guard state == .session, session.interest != .again else { return }
    act(session.tlsUnavailable())
  }

  // MARK: Turns

  /// Makes all the progress that is possible without waiting. Call it when a watch is ready or the deadline has passed.
  public func turn(now: Int) {
    self.now = now
    stepsLeft = SessionDriver.stepsLimit
    useSteps()
    while expire() && stepsLeft > 0 {
      stepsLeft -= 1
      useSteps()
    }
    // A hang-up beside something else that happened is reported again.
    if stepsLeft == SessionDriver.stepsLimit { noticeHangUp() }
    releaseStorage()
  }

  /// Makes steps as long as something moves and this turn has any left.
  func useSteps() {
    while stepsLeft > 0 && step() { stepsLeft -= 1 }
  }

  /// One step of whatever the driver is doing; false when nothing moved.
  func step() -> Bool {
    switch state {
    case .session: sessionStep()
    case .relaying: relayStep()
    case .lingering: lingerStep()
    case .finished: false
    }
  }

  /// One step while the session is in charge.
  private func sessionStep() -> Bool {
    flush()
    if clientBroken { return finish(.clientLost) }
    if session.phase == .handshaking { return handshake() }
    if session.interest == .drain {
      guard toClient.isEmpty && toServer.isEmpty else { return false }
      act(session.outputDrained())
      return true
    }
    guard hasRoomForReplies else { return false }
    if wantsServer, pullServer() { return true }
    if canPullClient, pullClient() { return true }
    return noticeClientEnd()
  }

  /// Goes on with the handshake.
  private func handshake() -> Bool {
    guard let stream else { return false }
    switch stream.handshake() {
    case .established:
      record.tls = stream.facts
      record.securedAt = now
      clientEnded = false
      clientHasUnread = false
      clientHasHungUp = false
      clientOutputHasHungUp = false
      act(session.handshakeFinished(.established))
    case .failed(let why):
      record.failure = why
      act(session.handshakeFinished(.failed))
    case .wouldBlock:
      return noticeServerEnd()
    }
    return true
  }

  /// Whether the client's output has room for whatever one more line can lead to.
  var hasRoomForReplies: Bool { toClient.room >= replyRoom }

  var wantsClient: Bool { session.interest == .both }
  /// Whether a client's line can be shown to the session: it wants one, and there is room to forward it.
  var canPullClient: Bool { wantsClient && hasRoomForReplies && toServer.room >= commandRoom }
  var wantsServer: Bool { session.interest == .both || session.interest == .server }

  /// Gives the storage of empty queues back: an idle connection costs no buffer.
  private func releaseStorage() {
    toClient.releaseIfEmpty()
    toServer.releaseIfEmpty()
    decrypted.releaseIfEmpty()
    clientHold.releaseIfEmpty()
    replyHold.releaseIfEmpty()
    earlierHold.releaseIfEmpty()
    window.close()
  }

  /// The program stops: everything is closed at once.
  public func stop() {
    if state != .finished { _ = finish(.stopped) }
  }
}
