// STARTTLSHandler: adds STARTTLS to an SMTP server that is a channel handler without TLS.
//
//     socket | LingeringCloseHandler | NIOSSLServerHandler | STARTTLSHandler | the server
//                                      from the handoff on   until it relays   a new one after the handshake
//
// Purpose: octets of the client arrive here by `channelRead`, octets of the server by `write`. An `SMTPConversation`
// consumes them and decides; its output is sent (here), its decisions are carried out (STARTTLSHandler+Decisions).
// Contract: the channel has the option `allowRemoteHalfClosure`, so that the end of the client's input is an event and
// the connection stays open for replies. The handler leaves the pipeline when the conversation relays, at MAIL.
// Failure: every failure becomes a reply or a close with a reason, which is given to `report`.
//
// Order of events: each event is recorded first, then `pump` reports the recorded events to the conversation one by one.
// New events can occur while output is sent: a server replies within `fireChannelRead`, a flush completes promises.
// They are recorded too, and reported after all decisions of the earlier event are carried out.
//
// Back-pressure: octets leave the conversation's output when the kernel has accepted them. While much output waits, the
// conversation consumes no more, and no more is read from the socket.
//
// Octets after STARTTLS: the conversation does not consume them. They wait in `fromClient`, or in the kernel, and only
// the TLS handler receives them (STARTTLSHandler+TLS).

public import NIOCore
public import NIOSSL
import NIOTLS
public import SMTPState

/// A conversation in a channel's pipeline.
///
/// ```swift
/// try channel.pipeline.syncOperations.addHandlers([
///   LingeringCloseHandler(),
///   STARTTLSHandler(policy: SMTPSession.Policy(), tls: context, makeServer: { _ in MySMTPServer() }),
/// ])
/// ```
public final class STARTTLSHandler: ChannelDuplexHandler, RemovableChannelHandler {
  public typealias InboundIn = ByteBuffer
  public typealias InboundOut = ByteBuffer
  public typealias OutboundIn = ByteBuffer
  public typealias OutboundOut = ByteBuffer

  /// The result of STARTTLS, for a log.
  public enum Outcome: Equatable, Sendable {
    /// TLS begins.
    case handedOff
    /// STARTTLS is no longer possible on this connection.
    case abandoned(SMTPSession.Reason)
    /// The conversation has closed the connection.
    case closed(SMTPSession.Reason)
  }

  enum State {
    /// The conversation decides.
    case watching
    /// All octets pass unchanged.
    case relaying
    /// All octets are discarded.
    case closed
  }

  let policy: SMTPSession.Policy
  let tls: NIOSSLContext?
  let makeServer: (_ isSecured: Bool) -> any RemovableChannelHandler
  let report: (Outcome) -> Void

  var conversation: SMTPConversation
  var state = State.watching
  var context: ChannelHandlerContext?
  var server: (any RemovableChannelHandler)?
  /// The conversation's name for the present server: a restart brings another server.
  var serverParty = SMTPSession.Party.server

  // Recorded events that the conversation has not received yet.
  var fromClient = Input()
  var fromServer = Input()
  var handshake: SMTPSession.HandshakeOutcome?
  var expired: SMTPSession.Deadline?
  /// Octets to the client that the kernel has accepted.
  private var sentCount = 0

  /// Octets at the front of the output to the client that were written to the channel, `sentCount` included.
  private var writtenCount = 0
  /// A `read` is deferred because the client's octets are not wanted now.
  private var hasDeferredRead = false
  private var isPumping = false

  /// The value of `timerStarts` for which `timer` was started.
  var armedStart: UInt32 = 0
  var timer: Scheduled<Void>?
  var clearPhaseTimer: Scheduled<Void>?

  /// - Parameters:
  ///   - policy: leave `serverReset` at `.restart`: a new server keeps nothing of the clear phase.
  ///   - tls: nil if there is no certificate. STARTTLS is not listed then.
  ///   - report: called on the event loop.
  ///   - makeServer: makes a server. The server greets when it is added to an active channel, or when its channel becomes
  ///     active. Called once for each connection, and again after a handshake.
  public init(
    policy: SMTPSession.Policy, tls: NIOSSLContext?, report: @escaping (Outcome) -> Void = { _ in },
    makeServer: @escaping (_ isSecured: Bool) -> any RemovableChannelHandler
  ) {
    self.policy = policy
    self.tls = tls
    self.report = report
    self.makeServer = makeServer
    conversation = SMTPConversation(policy)
    if tls == nil { conversation.tlsUnavailable() }
  }

  public func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
    startServer(isSecured: false)
    if context.channel.isActive { start() }
  }

  public func handlerRemoved(context: ChannelHandlerContext) {
    stopTimers()
    self.context = nil
  }

  private func start() {
    clearPhaseTimer = schedule(.clearPhase)
    pump()
  }

  // MARK: Events of the client

  public func channelActive(context: ChannelHandlerContext) {
    context.fireChannelActive()
    start()
  }

  public func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch state {
    case .watching:
      fromClient.append(unwrapInboundIn(data))
      pump()
    case .relaying: context.fireChannelRead(data)
    case .closed: break
    }
  }

  public func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    switch event {
    case ChannelEvent.inputClosed where state == .watching:
      fromClient.recordEnd()
      pump()
    case TLSUserEvent.handshakeCompleted where state == .watching:
      handshake = .established
      pump()
    default:
      context.fireUserInboundEventTriggered(event)
    }
  }

  public func errorCaught(context: ChannelHandlerContext, error: any Error) {
    if state == .watching && conversation.phase == .handshaking {
      handshake = .failed
      pump()
    } else {
      // The TLS handler closes the channel after a fatal error.
      context.fireErrorCaught(error)
    }
  }

  public func channelInactive(context: ChannelHandlerContext) {
    stopTimers()
    if state == .watching {
      // The connection is lost: no reply could be delivered.
      state = .closed
      if !conversation.isClearPhaseOver { report(.abandoned(.clientEnded)) }
      report(.closed(conversation.phase == .handshaking ? .tlsFailed : .clientEnded))
    }
    context.fireChannelInactive()
  }

  public func channelWritabilityChanged(context: ChannelHandlerContext) {
    context.fireChannelWritabilityChanged()
    pump()
  }

  // MARK: Events of the server

  public func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    switch state {
    case .watching:
      fromServer.append(unwrapOutboundIn(data))
      promise?.succeed()
      pump()
    case .relaying: context.write(data, promise: promise)
    case .closed: promise?.fail(ChannelError.ioOnClosedChannel)
    }
  }

  public func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
    guard state == .watching else { return context.close(mode: mode, promise: promise) }
    // Replies that the server wrote before are still sent. The conversation closes the channel after them.
    fromServer.recordEnd()
    if let promise { context.channel.closeFuture.cascade(to: promise) }
    pump()
  }

  /// Passes a read on while the client's octets are wanted, and defers it otherwise. `autoRead` stays on.
  public func read(context: ChannelHandlerContext) {
    if isReadWanted(context) { context.read() } else { hasDeferredRead = true }
  }

  private func isReadWanted(_ context: ChannelHandlerContext) -> Bool {
    guard state == .watching else { return true }
    // The TLS handler needs the octets of the handshake.
    if conversation.phase == .handshaking { return true }
    return conversation.wants(.client) && fromClient.octets.readableBytes == 0 && context.channel.isWritable
  }

  // MARK: Events in, decisions and octets out

  /// Reports all recorded events to the conversation, and carries out what follows from them.
  func pump() {
    guard !isPumping else { return }
    isPumping = true
    while let context, state == .watching {
      repeat {
        carryOutDecisions(context)
        sendToServer(context)
        sendToClient(context)
        startTimer()
      } while reportEvent(context)
      guard state == .watching else { break }
      context.flush()
      // A flush can complete promises, which are events.
      if !reportEvent(context) { break }
    }
    isPumping = false
    conversation.releaseMemory()
    guard let context, hasDeferredRead, isReadWanted(context) else { return }
    hasDeferredRead = false
    context.read()
  }

  /// Reports one recorded event. False if none is recorded, or none can be reported now.
  private func reportEvent(_ context: ChannelHandlerContext) -> Bool {
    guard state == .watching else { return false }
    if sentCount > 0 {
      conversation.withOutput(to: .client) { _ in sentCount }
      writtenCount -= sentCount
      sentCount = 0
    } else if let outcome = handshake {
      handshake = nil
      conversation.handshakeFinished(outcome)
    } else if let kind = expired {
      expired = nil
      conversation.timerExpired(kind)
    } else {
      // The server first: an unsolicited 421 must be processed before a STARTTLS.
      return fromServer.move(to: &conversation, from: serverParty)
        || context.channel.isWritable && fromClient.move(to: &conversation, from: .client)
    }
    return true
  }

  func sendToServer(_ context: ChannelHandlerContext) {
    var octets = ByteBuffer()
    conversation.withOutput(to: serverParty) { octets.writeBytes($0.bytes) }
    guard octets.readableBytes > 0 else { return }
    context.fireChannelRead(wrapInboundOut(octets))
    context.fireChannelReadComplete()
  }

  /// Writes the output to the client that was not written before. The conversation keeps it until the write's promise is
  /// fulfilled: then the kernel has it. So the handoff comes after the 220, and a client that does not read stops the
  /// conversation.
  func sendToClient(_ context: ChannelHandlerContext) {
    var octets = ByteBuffer()
    conversation.withOutput(to: .client) {
      octets.writeBytes($0.extracting(droppingFirst: writtenCount).bytes)
      return 0
    }
    let count = octets.readableBytes
    guard count > 0 else { return }
    writtenCount += count
    let isWritten = context.eventLoop.makePromise(of: Void.self)
    isWritten.futureResult.assumeIsolated().whenSuccess {
      self.sentCount += count
      self.pump()
    }
    context.write(wrapOutboundOut(octets), promise: isWritten)
  }
}

/// One side's input: octets that the conversation has not consumed yet, and the end after them.
struct Input {
  private enum End {
    case notYet, recorded, reported
  }

  private(set) var octets = ByteBuffer()
  private var end = End.notYet

  var first: UInt8? { octets.readableBytesView.first }
  var hasEnded: Bool { end != .notYet }

  mutating func append(_ more: ByteBuffer) {
    if octets.readableBytes == 0 { octets = more } else { octets.writeImmutableBuffer(more) }
  }

  mutating func recordEnd() {
    if end == .notYet { end = .recorded }
  }

  /// Gives octets to the conversation, or the end after the last of them. False if it accepts nothing now.
  mutating func move(to conversation: inout SMTPConversation, from party: SMTPSession.Party) -> Bool {
    if octets.readableBytes == 0 {
      guard end == .recorded else { return false }
      end = .reported
      conversation.inputEnded(from: party)
      return true
    }
    guard conversation.wants(party) else { return false }
    let consumed = conversation.receive(octets.readableBytesUInt8Span, from: party)
    octets.moveReaderIndex(forwardBy: consumed)
    // An empty buffer keeps no storage.
    if octets.readableBytes == 0 { octets = ByteBuffer() }
    return consumed > 0
  }
}

@available(*, unavailable)
extension STARTTLSHandler: Sendable {}
