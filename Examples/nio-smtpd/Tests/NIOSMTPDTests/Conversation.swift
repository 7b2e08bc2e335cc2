// Conversation: a client with real TLS, and the pipeline of nio-smtpd, both in this process.
//
// NIO's BackPressureHandler and IdleStateHandler are left out: they would do part of what is tested here.

import Foundation
import NIOCore
import NIOEmbedded
import NIOSMTPState
import NIOSSL
import SMTPServer
import SMTPState
import XCTest

/// One connection. Octets of the client are delivered at once. Octets to the client are collected in `received`.
final class Conversation {
  let channel = EmbeddedChannel()
  /// The client's TLS, from `startTLS` on.
  private var client: EmbeddedChannel?
  private(set) var received = ""
  private(set) var outcomes: [STARTTLSHandler.Outcome] = []
  private(set) var mails: [String] = []
  /// The octets that each server received, in the order of the servers.
  private(set) var given: [String] = []
  /// How many servers were removed.
  private(set) var removed = 0
  let socket = SocketHandler()

  var isOpen: Bool { channel.isActive }

  init(policy: SMTPSession.Policy = SMTPSession.Policy(), tls: NIOSSLContext? = nil) throws {
    channel.allowRemoteHalfClosure = true
    let watch = STARTTLSHandler(policy: policy, tls: tls ?? Credentials.server) { [unowned self] in
      outcomes.append($0)
    } makeServer: { [unowned self] isSecured in
      given.append("")
      let mails = Mails { [unowned self] in self.mails.append($0) }
      let configuration = SMTPServerConfiguration(
        name: "mx.example", transmission: isSecured ? "ESMTPS" : "ESMTP",
        store: { mails.add(String(buffer: $0), on: $1) })
      return RecordingServer(SMTPServerHandler(configuration)) { [unowned self] in
        given[given.count - 1] += $0
      } leave: { [weak self] in
        self?.removed += 1
      }
    }
    try channel.pipeline.syncOperations.addHandlers([socket, LingeringCloseHandler(), watch])
    try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
    try exchange()
  }

  /// Sends this, inside TLS after `startTLS`, and in clear before.
  func send(_ text: String) throws {
    try send(Array(text.utf8))
  }

  func send(_ octets: some Sequence<UInt8>) throws {
    if let client {
      try client.writeOutbound(ByteBuffer(bytes: octets))
    } else {
      try deliver(ByteBuffer(bytes: octets))
    }
    try exchange()
  }

  /// Sends octets without the client's TLS.
  func sendRaw(_ octets: some Sequence<UInt8>) throws {
    try deliver(ByteBuffer(bytes: octets))
    try exchange()
  }

  /// The client ends its input, without a close_notify inside TLS.
  func end() throws {
    channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
    try exchange()
  }

  /// Sets whether the channel is writable.
  func setWritable(_ isWritable: Bool) throws {
    channel.isWritable = isWritable
    channel.pipeline.fireChannelWritabilityChanged()
    try exchange()
  }

  /// Sets whether the socket is full. A socket that is no longer full accepts all that was written.
  func setSocketFull(_ isFull: Bool) throws {
    socket.isFull = isFull
    channel.pipeline.flush()
    try exchange()
  }

  func advance(_ time: TimeAmount) throws {
    channel.embeddedEventLoop.advanceTime(by: time)
    try exchange()
  }

  /// Makes the client's TLS layer, and returns its ClientHello.
  func makeHello() throws -> [UInt8] {
    let made = EmbeddedChannel()
    try made.pipeline.syncOperations.addHandler(NIOSSLClientHandler(context: Credentials.client, serverHostname: nil))
    try made.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
    waiting = made
    var hello: [UInt8] = []
    while let octets = try made.readOutbound(as: ByteBuffer.self) { hello += octets.readableBytesView }
    return hello
  }

  private var waiting: EmbeddedChannel?

  /// The client uses TLS from now on. Its ClientHello was sent before, or is sent now.
  func startTLS(sending hello: [UInt8] = []) throws {
    client = waiting
    if !hello.isEmpty { try deliver(ByteBuffer(bytes: hello)) }
    try exchange()
  }

  private func deliver(_ octets: ByteBuffer) throws {
    guard channel.isActive else { return }
    channel.pipeline.fireChannelRead(octets)
    channel.pipeline.fireChannelReadComplete()
    // A channel with autoRead does this.
    channel.pipeline.read()
  }

  /// Delivers each side's octets to the other side until none is left.
  private func exchange() throws {
    var hasMoved = true
    while hasMoved {
      hasMoved = false
      channel.embeddedEventLoop.run()
      while let octets = try channel.readOutbound(as: ByteBuffer.self) {
        guard octets.readableBytes > 0 else { continue }
        hasMoved = true
        if let client {
          client.pipeline.fireChannelRead(octets)
          client.pipeline.fireChannelReadComplete()
        } else {
          // For a client that sent its ClientHello early: octets after the 220 are TLS.
          received += String(buffer: octets)
          if waiting != nil && received.hasSuffix("220 2.0.0 Ready to start TLS\r\n") { client = waiting }
        }
      }
      while let octets = try client?.readOutbound(as: ByteBuffer.self) {
        hasMoved = true
        try deliver(octets)
      }
      while let octets = try client?.readInbound(as: ByteBuffer.self) { received += String(buffer: octets) }
    }
  }

  /// The codes of the replies since the last call. Only the last line of a reply counts.
  func codes() -> [Int] {
    defer { received = "" }
    return received.split(separator: "\r\n").filter { $0.dropFirst(3).first != "-" }.map { Int($0.prefix(3)) ?? 0 }
  }
}

/// Collects messages in place of a folder. Used on one event loop, which is this thread.
private final class Mails: @unchecked Sendable {
  private let take: (String) -> Void

  init(_ take: @escaping (String) -> Void) {
    self.take = take
  }

  func add(_ message: String, on eventLoop: any EventLoop) -> EventLoopFuture<Void> {
    take(message)
    return eventLoop.makeSucceededVoidFuture()
  }
}

/// Records the octets that its server receives. Everything else goes to the server unchanged.
private final class RecordingServer: ChannelDuplexHandler, RemovableChannelHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundIn = ByteBuffer
  private let server: SMTPServerHandler
  private let note: (String) -> Void
  private let leave: () -> Void

  init(_ server: SMTPServerHandler, note: @escaping (String) -> Void, leave: @escaping () -> Void) {
    self.server = server
    self.note = note
    self.leave = leave
  }

  func handlerAdded(context: ChannelHandlerContext) { server.handlerAdded(context: context) }
  func handlerRemoved(context: ChannelHandlerContext) {
    server.handlerRemoved(context: context)
    leave()
  }
  func channelActive(context: ChannelHandlerContext) { server.channelActive(context: context) }
  func channelInactive(context: ChannelHandlerContext) { server.channelInactive(context: context) }
  func read(context: ChannelHandlerContext) { server.read(context: context) }
  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    server.errorCaught(context: context, error: error)
  }
  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    server.userInboundEventTriggered(context: context, event: event)
  }
  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    note(String(buffer: unwrapInboundIn(data)))
    server.channelRead(context: context, data: data)
  }
}

/// Next to the socket: counts the reads, and can keep written octets back, like a socket with a full buffer.
final class SocketHandler: ChannelOutboundHandler {
  typealias OutboundIn = ByteBuffer
  private(set) var readCount = 0
  var isFull = false

  func read(context: ChannelHandlerContext) {
    readCount += 1
    context.read()
  }

  func flush(context: ChannelHandlerContext) {
    if !isFull { context.flush() }
  }
}

/// A self-signed certificate, made once, and a client that accepts any certificate.
enum Credentials {
  static let server = Result { try makeServer() }.orFail
  static let client = Result {
    var tls = TLSConfiguration.makeClientConfiguration()
    tls.certificateVerification = .none
    return try NIOSSLContext(configuration: tls)
  }.orFail

  private static func makeServer() throws -> NIOSSLContext {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let (certificate, key) = (folder.path + "/chain.pem", folder.path + "/key.pem")
    let openssl = Process()
    openssl.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    openssl.arguments =
      ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
      + ["-subj", "/CN=localhost", "-keyout", key, "-out", certificate]
    openssl.standardError = FileHandle.nullDevice
    try openssl.run()
    openssl.waitUntilExit()
    return try NIOSSLContext(
      configuration: .makeServerConfiguration(
        certificateChain: NIOSSLCertificate.fromPEMFile(certificate).map { .certificate($0) },
        privateKey: .privateKey(NIOSSLPrivateKey(file: key, format: .pem))))
  }
}

extension Result where Failure == any Error {
  fileprivate var orFail: Success {
    switch self {
    case .success(let value): return value
    case .failure(let error): fatalError("no certificate: \(error)")
    }
  }
}
