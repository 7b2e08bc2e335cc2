// LingeringCloseHandler: closes a connection so that its last words arrive.
//
// A socket that is closed while octets of the client are unread sends a reset, and a reset can take back what the
// client has not read yet: the reply that says why. So a close is: write all, end our half, read on and discard until
// the client ends its half, for a moment at most. It stands next to the socket, so that TLS closes through it too.

public import NIOCore

/// Makes `close` linger.
public final class LingeringCloseHandler: ChannelDuplexHandler {
  public typealias InboundIn = ByteBuffer
  public typealias InboundOut = ByteBuffer
  public typealias OutboundIn = ByteBuffer
  public typealias OutboundOut = ByteBuffer

  private enum State {
    case open
    /// Closed; what was written before is not yet with the kernel.
    case writing
    /// Our half is ended.
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
  ///   - writeLimit: how long the client may take for what was written before the close.
  ///   - discardLimit: how long it may then take to end its half.
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
    // Promises are kept in the order of the writes: when this one is, all before it is with the kernel.
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
      // While something is still to be written, that closes behind it.
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
