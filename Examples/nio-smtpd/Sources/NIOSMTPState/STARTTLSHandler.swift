// STARTTLSHandler: puts STARTTLS in front of an SMTP server that is a channel handler and knows nothing of TLS.
//
//     socket | LingeringCloseHandler | NIOSSLServerHandler | STARTTLSHandler | the server
//                                      from the handoff on   until it relays   a new one behind the handshake
//
// What the client sends arrives here by `channelRead`, what the server says by `write`. Both are shown to a `Session`,
// line by line, and its commands are carried out (STARTTLSHandler+Commands). When the session lets go of the server, at
// MAIL, the handler leaves the pipeline.
//
// Everything that happens is first noted, then taken up by `pump`, in one order. A command may make things happen while
// it is carried out: a server that is given a line answers within `fireChannelRead`, a flush completes promises. They
// are noted too, and `pump` comes to them when the chain of commands is over, as the session asks.
//
// Octets of the client wait in a buffer of this process, where NIO has put them. None crosses into TLS as something
// said inside TLS: a line is consumed here or not at all, and at the handoff what is left goes to the TLS handler, as
// ciphertext (STARTTLSHandler+TLS).
//
// The channel needs `allowRemoteHalfClosure`, so that an end of the client's input is an event and not the end of all.

public import NIOCore
public import NIOSSL
import NIOTLS
public import SMTPState

/// A session at work in a channel's pipeline.
///
/// ```swift
/// try channel.pipeline.syncOperations.addHandlers([
///   LingeringCloseHandler(),
///   STARTTLSHandler(policy: Policy(), tls: context, makeServer: { _ in MySMTPServer() }),
/// ])
/// ```
public final class STARTTLSHandler: ChannelDuplexHandler, RemovableChannelHandler {
  public typealias InboundIn = ByteBuffer
  public typealias InboundOut = ByteBuffer
  public typealias OutboundIn = ByteBuffer
  public typealias OutboundOut = ByteBuffer

  /// What became of STARTTLS, for a log.
  public enum Outcome: Equatable, Sendable {
    /// TLS begins.
    case handedOff
    /// STARTTLS cannot come any more.
    case abandoned(SMTPSession.Reason)
    /// The session has ended the connection.
    case closed(SMTPSession.Reason)
  }

  enum State {
    /// The session says what happens.
    case watching
    /// It has let go: everything passes.
    case relaying
    /// Nothing passes any more.
    case closed
  }

  /// The end of one side's input: told to the session once, and not before all that came before it.
  enum End {
    case notYet, noted, told
  }

  let policy: SMTPSession.Policy
  let tls: NIOSSLContext?
  let makeServer: (_ isSecured: Bool) -> any RemovableChannelHandler
  let report: (Outcome) -> Void

  var session: SMTPSession
  var state = State.watching
  var context: ChannelHandlerContext?
  var server: (any RemovableChannelHandler)?
  /// What the session calls the server that is there: a restart brings another one.
  var serverParty = SMTPSession.Party.server

  // The holds of Command.swift, and before them what the session has not consumed.
  var fromClient = ByteBuffer()
  var fromServer = ByteBuffer()
  var clientHold = ByteBuffer()
  var replyHold = ByteBuffer()
  var earlierHold = ByteBuffer()

  // What has happened and was not taken up yet.
  var clientEnd = End.notYet
  var serverEnd = End.notYet
  var isDrained = false
  var handshake: SMTPSession.HandshakeOutcome?
  var expired: SMTPSession.Deadline?

  /// A `read` that was kept back, because nothing is wanted of the client.
  private var hasKeptRead = false
  private var isPumping = false

  var armed: SMTPSession.Deadline?
  var timer: Scheduled<Void>?
  var clearPhaseTimer: Scheduled<Void>?

  /// - Parameters:
  ///   - policy: `serverReset` is best left at `.restart`: a new handler has nothing to forget.
  ///   - tls: nil if there is no certificate. STARTTLS is not listed then.
  ///   - report: called on the event loop.
  ///   - makeServer: makes a server, which greets when it is added to an active channel, or when its channel becomes
  ///     active. It is called once for each connection, and again behind a handshake.
  public init(
    policy: SMTPSession.Policy, tls: NIOSSLContext?, report: @escaping (Outcome) -> Void = { _ in },
    makeServer: @escaping (_ isSecured: Bool) -> any RemovableChannelHandler
  ) {
    self.policy = policy
    self.tls = tls
    self.report = report
    self.makeServer = makeServer
    session = SMTPSession(policy)
    // It only withdraws an offer: nothing is to be done.
    if tls == nil { _ = session.tlsUnavailable() }
  }

  public func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
    startServer(isSecured: false)
    if context.channel.isActive { start(context) }
  }

  public func handlerRemoved(context: ChannelHandlerContext) {
    stopTimers()
    self.context = nil
  }

  private func start(_ context: ChannelHandlerContext) {
    startTimers()
    pump()
  }

  // MARK: What happens on the client's side

  public func channelActive(context: ChannelHandlerContext) {
    context.fireChannelActive()
    start(context)
  }

  public func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch state {
    case .watching:
      var octets = unwrapInboundIn(data)
      fromClient.append(&octets)
      pump()
    case .relaying: context.fireChannelRead(data)
    case .closed: break
    }
  }

  public func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    switch event {
    case ChannelEvent.inputClosed where state == .watching:
      if clientEnd == .notYet { clientEnd = .noted }
      pump()
    case TLSUserEvent.handshakeCompleted where state == .watching:
      handshake = .established
      pump()
    default:
      context.fireUserInboundEventTriggered(event)
    }
  }

  public func errorCaught(context: ChannelHandlerContext, error: any Error) {
    if state == .watching && session.phase == .handshaking {
      handshake = .failed
      pump()
    } else {
      // The TLS handler closes the channel behind an error that it cannot bear.
      context.fireErrorCaught(error)
    }
  }

  public func channelInactive(context: ChannelHandlerContext) {
    stopTimers()
    if state == .watching {
      // The connection is gone, and the session with it: nothing that it would say can be carried out.
      state = .closed
      if !session.isClearPhaseOver { report(.abandoned(.clientEnded)) }
      report(.closed(session.phase == .handshaking ? .tlsFailed : .clientEnded))
    }
    context.fireChannelInactive()
  }

  public func channelWritabilityChanged(context: ChannelHandlerContext) {
    context.fireChannelWritabilityChanged()
    pump()
  }

  // MARK: What the server does

  public func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    switch state {
    case .watching:
      var octets = unwrapOutboundIn(data)
      fromServer.append(&octets)
      promise?.succeed()
      pump()
    case .relaying: context.write(data, promise: promise)
    case .closed: promise?.fail(ChannelError.ioOnClosedChannel)
    }
  }

  public func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
    guard state == .watching else { return context.close(mode: mode, promise: promise) }
    // What it said before is still passed on; the session closes the channel.
    if serverEnd == .notYet { serverEnd = .noted }
    if let promise { context.channel.closeFuture.cascade(to: promise) }
    pump()
  }

  /// Back-pressure, with `autoRead` left on: a read is let through when its octets are wanted, and kept back else.
  public func read(context: ChannelHandlerContext) {
    if isReadWanted(context) { context.read() } else { hasKeptRead = true }
  }

  private func isReadWanted(_ context: ChannelHandlerContext) -> Bool {
    guard state == .watching else { return true }
    // The TLS handler reads what it needs, and nothing else is there to read.
    if session.phase == .handshaking { return true }
    return session.interest == .both && fromClient.readableBytes == 0 && context.channel.isWritable
  }

  // MARK: In which order it is taken up

  /// Takes up all that was noted and what it leads to.
  func pump() {
    guard !isPumping else { return }
    isPumping = true
    while let context, let command = takeUp(context) { carryOut(command, context) }
    isPumping = false
    guard let context else { return }
    context.flush()
    // Whatever the flush completed was taken up by now.
    if hasKeptRead && isReadWanted(context) {
      hasKeptRead = false
      context.read()
    }
  }

  /// The first of what there is to tell the session, and its answer.
  private func takeUp(_ context: ChannelHandlerContext) -> SMTPSession.Command? {
    guard state == .watching else { return nil }
    if isDrained {
      isDrained = false
      return session.outputDrained()
    }
    if let outcome = handshake {
      handshake = nil
      return session.handshakeFinished(outcome)
    }
    if let kind = expired {
      expired = nil
      return session.timerExpired(kind)
    }
    // The server first: a 421 that nobody asked for comes before a STARTTLS.
    let interest = session.interest
    if fromServer.readableBytes == 0 {
      if serverEnd == .noted {
        serverEnd = .told
        return session.inputEnded(from: serverParty)
      }
    } else if interest == .both || interest == .server {
      let step = session.receive(fromServer.readableBytesUInt8Span, from: serverParty)
      fromServer.give(step.consumed, to: &replyHold, unlessDropped: step.command == .drop(.reply))
      return step.command
    }
    if fromClient.readableBytes == 0 {
      if clientEnd == .noted {
        clientEnd = .told
        return session.inputEnded(from: .client)
      }
    } else if interest == .both && context.channel.isWritable {
      let step = session.receive(fromClient.readableBytesUInt8Span, from: .client)
      fromClient.give(step.consumed, to: &clientHold, unlessDropped: step.command == .drop(.client))
      return step.command
    }
    return nil
  }
}

@available(*, unavailable)
extension STARTTLSHandler: Sendable {}
