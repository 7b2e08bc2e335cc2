// LingeringCloseHandler: closes a connection in such a way that the last reply arrives.
//
// Purpose: a socket that is closed while octets of the client are unread sends a reset. After a reset, the client can
// lose octets that it has not read yet: the reply with the reason.
// Contract: the handler is next to the socket, so that the TLS handler closes through it too. A close writes all pending
// octets, ends our half of the connection, then reads and discards until the client ends its half.
// Failure: a client that takes too long, or sends too much, is closed at once.

public import NIOCore

/// Makes `close` linger.
public final class LingeringCloseHandler: ChannelDuplexHandler {
  public typealias InboundIn = ByteBuffer
  public typealias InboundOut = ByteBuffer
  public typealias OutboundIn = ByteBuffer
  public typealias OutboundOut = ByteBuffer

  private enum State {
    case open
    /// `close` was called. Some octets written before it are not yet accepted by the kernel.
    case writing
    /// Our half is closed. Input is read and discarded.
    case discarding
  }

  private let writeLimit: TimeAmount
  private let discardLimit: TimeAmount
  private let discardLimitOctets = 65_536

  private var state = State.open
  private var isInputClosed = false
  private var discarded = 0
  private var timer: Scheduled<Void>?

  /// - Parameters:
  ///   - writeLimit: how long the client may take to receive the octets written before the close.
  ///   - discardLimit: how long the client may then take to end its half.
  public init(writeLimit: TimeAmount = .seconds(30), discardLimit: TimeAmount = .seconds(2)) {
    self.writeLimit = writeLimit
    self.discardLimit = discardLimit
  }

  public func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
    guard mode == .all else { return context.close(mode: mode, promise: promise) }
    if let promise { context.channel.closeFuture.cascade(to: promise) }
    guard state == .open else { return }
    state = .writing
    limit(writeLimit, context)
    // Promises are fulfilled in the order of the writes. After this one, the kernel has all octets.
    let isWritten = context.eventLoop.makePromise(of: Void.self)
    isWritten.futureResult.assumeIsolated().whenComplete { result in
      if case .success = result { self.endOutput(context) } else { context.close(promise: nil) }
    }
    context.writeAndFlush(wrapOutboundOut(ByteBuffer()), promise: isWritten)
  }

  private func endOutput(_ context: ChannelHandlerContext) {
    guard !isInputClosed else { return context.close(promise: nil) }
    state = .discarding
    limit(discardLimit, context)
    context.close(mode: .output, promise: nil)
    context.read()
  }

  private func limit(_ time: TimeAmount, _ context: ChannelHandlerContext) {
    timer?.cancel()
    timer = context.eventLoop.assumeIsolated().scheduleTask(in: time) { context.close(promise: nil) }
  }

  public func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard state != .open else { return context.fireChannelRead(data) }
    discarded += unwrapInboundIn(data).readableBytes
    if state == .discarding && discarded > discardLimitOctets { context.close(promise: nil) }
  }

  public func channelReadComplete(context: ChannelHandlerContext) {
    context.fireChannelReadComplete()
    if state == .discarding { context.read() }
  }

  public func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if case ChannelEvent.inputClosed = event {
      isInputClosed = true
      // In state `writing`, the end of the write closes the channel.
      if state == .discarding { context.close(promise: nil) }
    }
    context.fireUserInboundEventTriggered(event)
  }

  public func channelInactive(context: ChannelHandlerContext) {
    timer?.cancel()
    context.fireChannelInactive()
  }
}

@available(*, unavailable)
extension LingeringCloseHandler: Sendable {}
