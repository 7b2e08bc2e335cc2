// SMTPServerHandler: a small SMTP server without TLS.
//
// Purpose: reads octets, writes replies and stores messages. It accepts mail for any recipient and never relays mail.
// Contract: the channel has the option `allowRemoteHalfClosure`. With an `IdleStateHandler` in the pipeline, the server
// ends idle connections. It greets when its channel becomes active, or at once in an active channel, so that a new server
// can replace it in the middle of a connection.
// Failure: a wrong command gets a reply. A line that is too long ends the connection.

public import NIOCore

/// Sent by a program that is shutting down: end the connection as soon as it has no mail transaction.
public struct ShutdownEvent: Sendable {
  public init() {}
}

/// The settings of a server.
public struct SMTPServerConfiguration: Sendable {
  /// The server's own name.
  public var name: String
  /// The protocol of the trace line (RFC 3848): "ESMTP", or "ESMTPS" inside TLS.
  public var transmission: String
  /// Stores a message. The future succeeds when the message is on the disk.
  public var store: @Sendable (ByteBuffer, any EventLoop) -> EventLoopFuture<Void>

  public init(
    name: String, transmission: String, store: @escaping @Sendable (ByteBuffer, any EventLoop) -> EventLoopFuture<Void>
  ) {
    self.name = name
    self.transmission = transmission
    self.store = store
  }
}

/// An SMTP server in a channel's pipeline (RFC 5321).
public final class SMTPServerHandler: ChannelDuplexHandler, RemovableChannelHandler {
  public typealias InboundIn = ByteBuffer
  public typealias OutboundIn = ByteBuffer
  public typealias OutboundOut = ByteBuffer

  static let commandLineLimit = 2_048
  static let messageLimit = 10 * 1_024 * 1_024
  static let recipientLimit = 100

  let configuration: SMTPServerConfiguration

  private var input = ByteBuffer()
  private var hasInputEnded = false
  private var isShuttingDown = false
  /// A message is being stored. No other command is processed meanwhile.
  private var isStoring = false
  private var isClosed = false
  private var hasKeptRead = false

  /// The client's name from EHLO or HELO; nil before.
  var clientName: String?
  var envelope: Envelope?
  /// The message that arrives after DATA.
  var message: MessageReader?

  public init(_ configuration: SMTPServerConfiguration) {
    self.configuration = configuration
  }

  public func handlerAdded(context: ChannelHandlerContext) {
    if context.channel.isActive { greet(context) }
  }

  public func channelActive(context: ChannelHandlerContext) {
    greet(context)
    context.fireChannelActive()
  }

  public func handlerRemoved(context: ChannelHandlerContext) {
    isClosed = true
  }

  public func channelInactive(context: ChannelHandlerContext) {
    isClosed = true
    context.fireChannelInactive()
  }

  private func greet(_ context: ChannelHandlerContext) {
    answer("220 \(configuration.name) ESMTP", context)
  }

  public func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    var octets = unwrapInboundIn(data)
    input.writeBuffer(&octets)
    work(context)
  }

  public func read(context: ChannelHandlerContext) {
    if isStoring { hasKeptRead = true } else { context.read() }
  }

  public func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    switch event {
    case ChannelEvent.inputClosed: hasInputEnded = true
    case is ShutdownEvent: isShuttingDown = true
    case is IdleStateHandler.IdleStateEvent: end("421 4.4.2 \(configuration.name) Idle too long", context)
    default: return context.fireUserInboundEventTriggered(event)
    }
    work(context)
  }

  public func errorCaught(context: ChannelHandlerContext, error: any Error) {
    // A fatal error closes the channel, which is another event. An end of input without TLS's close_notify is an error
    // first, and then the event `inputClosed`.
  }

  /// Processes all complete input.
  private func work(_ context: ChannelHandlerContext) {
    while !isStoring && !isClosed {
      if message != nil {
        guard readMessage(context) else { break }
      } else if isShuttingDown && envelope == nil {
        end("421 4.3.2 \(configuration.name) Shutting down", context)
      } else if let line = takeLine(context) {
        serve(line, context)
      } else {
        break
      }
    }
    // Complete commands are answered before the end. A partial message or line is discarded.
    if hasInputEnded && !isStoring && !isClosed { end(nil, context) }
    input.discardReadBytes()
  }

  /// The next line without its CRLF. Nil if no line is complete. A line that is malformed is answered here.
  private func takeLine(_ context: ChannelHandlerContext) -> String? {
    while !isClosed {
      let octets = input.readableBytesView
      guard let index = octets.firstIndex(of: 0x0A), index - octets.startIndex < Self.commandLineLimit else {
        if octets.count >= Self.commandLineLimit { end("500 5.5.2 Line too long", context) }
        return nil
      }
      let line = octets[..<index]
      input.moveReaderIndex(forwardBy: line.count + 1)
      if line.last == 0x0D, !line.dropLast().contains(where: { $0 == 0x0D || $0 == 0 }) {
        return String(decoding: line.dropLast(), as: UTF8.self)
      }
      answer("500 5.5.2 Syntax error", context)
    }
    return nil
  }

  /// Continues with the message. False if its end has not arrived.
  private func readMessage(_ context: ChannelHandlerContext) -> Bool {
    guard let outcome = message?.read(&input) else { return false }
    message = nil
    let mail = envelope
    envelope = nil
    switch outcome {
    case .malformed: answer("554 5.6.0 Bare CR or LF in the message", context)
    case .tooLarge: answer("552 5.3.4 Message too large", context)
    case .message(let text):
      isStoring = true
      var whole = ByteBuffer(string: traceLines(mail, context))
      whole.writeImmutableBuffer(text)
      configuration.store(whole, context.eventLoop).assumeIsolated().whenComplete { result in
        self.stored(result, context)
      }
    }
    return true
  }

  private func stored(_ result: Result<Void, any Error>, _ context: ChannelHandlerContext) {
    isStoring = false
    guard !isClosed else { return }
    switch result {
    case .success: answer("250 2.0.0 Stored", context)
    case .failure: answer("451 4.3.0 Cannot store the message now", context)
    }
    work(context)
    if hasKeptRead {
      hasKeptRead = false
      context.read()
    }
  }

  func answer(_ text: String, _ context: ChannelHandlerContext) {
    context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: text + "\r\n")), promise: nil)
  }

  /// Sends the last reply, if there is one, and closes.
  func end(_ text: String?, _ context: ChannelHandlerContext) {
    guard !isClosed else { return }
    isClosed = true
    if let text { answer(text, context) }
    context.close(promise: nil)
  }
}

@available(*, unavailable)
extension SMTPServerHandler: Sendable {}
