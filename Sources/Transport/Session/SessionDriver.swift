// SessionDriver: carries out the decisions of a conversation on descriptors, and moves its octets.
//
// One driver binds one `SMTPConversation` to a client and a server. It never waits and is independent of an event loop:
// `watches` says what it waits for, `deadline` until when, and `turn` makes all the progress that is possible now. A
// program with one connection runs it under poll, a program with thousands under epoll; the event masks are the same.
//
// Contract: no status flag is ever set; each call asks not to wait (Descriptor+NonWaiting.swift). Of the client in clear,
// only octets that the conversation consumed are taken. All octets read from one side are written before the other side is closed.
//
// Extensions: SessionDriver+Turns (steps), SessionDriver+Decisions (each decision), SessionDriver+Pull (input),
// SessionDriver+Helo (health checks), SessionDriver+Output (writing), SessionDriver+Implicit (TLS from the start),
// SessionDriver+Learnt (a server that is started late), SessionDriver+Relay, SessionDriver+Linger (closing),
// SessionDriver+ShutDown (the program stops), SessionDriver+Watches (events), SessionDriver+Timers (deadlines).

import CKernel
import Glibc
public import SMTPState

/// Runs one session.
///
/// ```swift
/// let driver = SessionDriver(policy: policy, timeouts: timeouts, client: client, server: .started(socket), host: host,
///   now: Clock.now())
/// while !driver.isFinished {
///   poll(driver.watches, until: driver.deadline)
///   driver.turn(now: Clock.now())
/// }
/// ```
public final class SessionDriver {
  /// The timers of the driver, in milliseconds. The conversation's timers are in the policy.
  public struct Timeouts: Hashable, Sendable {
    /// For the client to take its output. Restarts when the client has taken everything, or 4,096 octets.
    public var outputStalledMilliseconds = 300_000
    /// Idle timeout of a relay. Restarts when 64 octets have moved. Longer than the 10 minutes that a client waits
    /// after its final dot.
    public var relayIdleMilliseconds = 660_000
    /// For the whole session, including the relay; 0 means no limit.
    public var sessionMilliseconds = 86_400_000
    /// For the client's end after the last octet sent to it: a reset could make the client lose that octet.
    public var lingerMilliseconds = 2_000
    /// For the server to take what was read from a client whose connection broke in a relay.
    public var clientLostMilliseconds = 10_000

    /// Creates the default timeouts.
    public init() {}
  }

  /// The state of the driver.
  enum State {
    /// With implicit TLS: the handshake, and the start of the server.
    case securing
    /// The conversation decides what to do.
    case session
    /// The server is started in the place of a learnt one, see SessionDriver+Learnt.
    case replaying
    /// Octets are copied in both directions.
    case relaying
    /// All output was queued; the client's input is discarded until its end.
    case lingering
    case finished
  }

  let policy: SMTPSession.Policy
  let timeouts: Timeouts
  unowned let host: any SessionHost

  var conversation: ObservedConversation
  var state = State.session

  var clear: PlaintextClient?
  var stream: (any TLSStream)?
  var server: ServerConnection?
  /// Starts the server that a learnt one stands for; nil if the session began without a learnt server.
  unowned var learntHost: (any LearntServerHost)?
  /// In the state `.replaying`: the server, if it was started, and what follows.
  var replacement: ServerReplacement?
  var isRelayNext = false
  /// True while the start of the first server is in progress.
  var isServerAwaited = false
  /// The conversation's name for the current server: a restart brings a new server.
  var serverParty = SMTPSession.Party.server

  // What a relay has read, and a last reply of the driver's own. The output of the conversation is sent first.
  var toClient = ByteQueue(capacity: SessionDriver.queueCapacity)
  var toServer = ByteQueue(capacity: SessionDriver.queueCapacity)
  /// Decrypted octets that the conversation has not consumed.
  var decrypted = ByteQueue(capacity: SessionDriver.queueCapacity)
  var window = Window()
  /// What was received from the server and the conversation has not consumed. Nobody else reads this socket.
  var fromServer = ByteQueue(capacity: SessionDriver.serverQueueCapacity)

  /// False if there was no read yet, or one has found nothing more, and no event was reported since. What has arrived is
  /// reported at the next wait, since the watches are level-triggered.
  package internal(set) var clientMayHaveInput = false
  package internal(set) var serverMayHaveInput = false

  /// True if octets of the current server were received. Those of a learnt one count as well until it is replaced.
  package internal(set) var hasServerSpoken = false

  /// The client's and the server's input has ended.
  var clientEnded = false
  var serverEnded = false
  /// Our output to them has ended.
  var clientOutputEnded = false
  var serverOutputEnded = false
  /// The conversation does not want the client and the client has unread octets, so its end cannot be seen: do not poll
  /// for it.
  var clientHasUnread = false
  /// The server sent unexpected octets during the handshake: do not poll for its end either.
  var serverHasUnread = false
  /// The client hung up, which poll reports unrequested: do not poll it again. The same for its second descriptor.
  var clientHasHungUp = false
  var clientOutputHasHungUp = false
  /// The client's or the server's connection accepts no more output.
  var clientBroken = false
  var serverBroken = false
  /// A write of the TLS layer waits for reading, or a read waits for writing.
  var writeWaitsToRead = false
  var readWaitsToWrite = false
  /// The end of our half is pending until the kernel accepts the TLS layer's close_notify.
  var endWaitsToWrite = false
  /// The client's connection broke in the relay; the server has a limited time to take the rest.
  var isLeavingRelay = false
  /// Counts refused AUTH commands in the relay; before it the conversation does.
  var refusals = RefusalCounter()
  /// nil unless the client's HELO is read as EHLO, see SessionDriver+Helo.
  var heloReading: HeloReading?
  /// Number of octets discarded while lingering.
  var discarded = 0

  /// The conversation's running timer, the value of its `timerStarts` at the start, and when it expires.
  var armed: SMTPSession.Deadline?
  var armedStart: UInt32 = 0
  var armedUntil: Int?
  let clearPhaseUntil: Int
  /// The driver's own timers: stalled client output, and an idle relay.
  var stalled: ProgressTimer
  var idle: ProgressTimer
  /// The end of the current state: lingering, or a relay whose client is gone.
  var ownUntil: Int?
  /// With TLS from the start: when the server must have sent something. nil otherwise.
  var greetingUntil: Int?
  /// With TLS from the start: the time that the client has to wait for its greeting, and true while it does.
  var greetingWaitMilliseconds = 0
  var isBeforeGreeting = false
  /// The end of the session; nil if there is no limit.
  let sessionUntil: Int?
  var now: Int
  /// Steps left in this turn. The limit gives other sessions their turns.
  var stepsLeft = SessionDriver.stepsLimit
  static var stepsLimit: Int { 64 }
  /// The additional cost of a read inside TLS, in steps.
  static var stepsOfRead: Int { 15 }

  /// What has happened so far.
  public internal(set) var record: SessionRecord

  /// The maximum number of octets that a relay queues for one side.
  static var queueCapacity: Int { 65_536 }
  /// The maximum number of octets of the server that the conversation has not consumed.
  static var serverQueueCapacity: Int { 4_096 }

  /// Starts a session over a connection to a client.
  ///
  /// - Parameters:
  ///   - policy: the settings of the session.
  ///   - timeouts: the timers that are not in the policy.
  ///   - client: the client's connection, from which nothing was read.
  ///   - server: the result of the start of the first server. `.pending`: the result is reported later with
  ///     `serverStarted`; the greeting timeout runs. `.failed`: the client gets 421 4.3.2.
  ///   - host: the program around the session. The driver does not retain it; it must outlive the driver.
  ///   - now: `Clock.now()`.
  public convenience init(
    policy: SMTPSession.Policy, timeouts: Timeouts, client: consuming PlaintextClient, server: consuming ServerStart,
    host: any SessionHost, now: Int
  ) {
    self.init(policy: policy, timeouts: timeouts, client: client, server: server, host: host, observer: nil, now: now)
  }

  /// The same, with an observer of the conversation. The driver retains it.
  package convenience init(
    policy: SMTPSession.Policy, timeouts: Timeouts, client: consuming PlaintextClient, server: consuming ServerStart,
    host: any SessionHost, observer: (any ConversationObserver)?, now: Int
  ) {
    self.init(policy: policy, timeouts: timeouts, host: host, now: now)
    conversation.observer = observer
    clear = consume client
    isServerAwaited = true
    begin(server)
  }

  /// A driver without connections.
  init(policy: SMTPSession.Policy, timeouts: Timeouts, host: any SessionHost, now: Int) {
    self.policy = policy
    self.timeouts = timeouts
    self.host = host
    conversation = ObservedConversation(policy)
    clearPhaseUntil = Clock.time(policy.clearPhaseTimeoutMilliseconds, after: now)
    stalled = ProgressTimer(milliseconds: timeouts.outputStalledMilliseconds, leastOctets: 4_096)
    idle = ProgressTimer(milliseconds: timeouts.relayIdleMilliseconds, leastOctets: 64)
    sessionUntil = timeouts.sessionMilliseconds > 0 ? Clock.time(timeouts.sessionMilliseconds, after: now) : nil
    record = SessionRecord(startedAt: now)
    self.now = now
    arm()
  }

  /// True if everything has ended and the driver owns nothing any more.
  public var isFinished: Bool { state == .finished }
}
