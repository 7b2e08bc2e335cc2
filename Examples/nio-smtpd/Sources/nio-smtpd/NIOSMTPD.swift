// nio-smtpd: an SMTP server on SwiftNIO that gets STARTTLS right by asking SMTPState.
//
//   nio-smtpd [--listen address:port] [--certificate chain.pem --key key.pem] [--require-tls] [--name name] folder
//
// Takes mail for any recipient and puts each message into a file of its own in the folder; it never relays. Without a
// certificate there is no STARTTLS; with --require-tls nothing goes without. The default is a free port of 127.0.0.1;
// the port is said on standard error, and so is a line for each decision and end. SIGTERM and SIGINT end it when the
// mails that are under way are stored, or after ten seconds.
//
// Exit codes: 0 it was told to end, 100 wrong arguments or certificate, 111 it cannot listen.
//
// A pipeline, from the socket to the server, and where to read about each handler:
//
//   LingeringCloseHandler  NIOSMTPState   last words arrive
//   IdleStateHandler       NIOCore        a client that does nothing is ended
//   NIOSSLServerHandler    NIOSSL         from the handoff on
//   STARTTLSHandler        NIOSMTPState   until it relays: begin there
//   SMTPServerHandler      SMTPServer     behind a handshake it is a new one
//   BackPressureHandler    NIOCore        what a client does not take stops what is read from it

import Dispatch
import Glibc
import NIOCore
import NIOPosix
import NIOSMTPState
import NIOSSL
import SMTPServer
import SMTPState

@main
struct NIOSMTPD {
  static func main() async {
    let options: Options
    let certificate: NIOSSLContext?
    do {
      options = try Options(CommandLine.arguments.dropFirst())
      certificate = try options.makeTLSContext()
    } catch {
      say("\(error)")
      exit(100)
    }
    let connections = Connections(limit: 1_000, loop: MultiThreadedEventLoopGroup.singleton.next())
    // Before anybody is told that this program is there.
    let (signals, sources) = await watch(SIGTERM, SIGINT)
    do {
      let listener = try await listen(options, certificate, connections)
      say("listening on \(listener.localAddress?.ipAddress ?? "") port \(listener.localAddress?.port ?? 0)")
      for await _ in signals { break }
      try await listener.close()
    } catch {
      say("\(options.host) port \(options.port): \(error)")
      exit(111)
    }
    await connections.shutDown(within: .seconds(10))
    withExtendedLifetime(sources) {}
    say("ended")
  }

  private static func listen(
    _ options: Options, _ certificate: NIOSSLContext?, _ connections: Connections
  ) async throws -> any Channel {
    let folder = MessageFolder(path: options.folder, threads: .singleton)
    return try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .serverChannelOption(.backlog, value: 128)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
      .childChannelOption(.allowRemoteHalfClosure, value: true)
      // What is read ahead of the session is at most one buffer of a fixed size.
      .childChannelOption(.maxMessagesPerRead, value: 1)
      .childChannelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 16_384))
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try connections.add(channel)
          try configure(channel, options, certificate, folder)
        }
      }
      .bind(host: options.host, port: options.port)
      .get()
  }

  private static func configure(
    _ channel: any Channel, _ options: Options, _ certificate: NIOSSLContext?, _ folder: MessageFolder
  ) throws {
    let peer = channel.remoteAddress.map { "\($0.ipAddress ?? "?") port \($0.port ?? 0)" } ?? "?"
    var policy = SMTPSession.Policy()
    if options.requiresTLS { policy.security = .required }
    let watch = STARTTLSHandler(policy: policy, tls: certificate) { outcome in
      switch outcome {
      case .handedOff: say("\(peer): STARTTLS")
      case .abandoned(let reason): say("\(peer): no STARTTLS: \(reason.name)")
      case .closed(let reason): say("\(peer): closed: \(reason.name)")
      }
    } makeServer: { isSecured in
      SMTPServerHandler(
        SMTPServerConfiguration(name: options.name, transmission: isSecured ? "ESMTPS" : "ESMTP") { message, loop in
          folder.store(message, on: loop)
        })
    }
    try channel.pipeline.syncOperations.addHandlers([
      LingeringCloseHandler(),
      // Longer than any timer of the session, and than the ten minutes that a client waits behind its final dot.
      IdleStateHandler(allTimeout: .minutes(11)),
      watch,
      BackPressureHandler(),
    ])
  }

  /// What tells of these signals from here on. Later ones than the first do nothing: the program is already ending.
  private static func watch(_ numbers: CInt...) async -> (signals: AsyncStream<Void>, sources: [any DispatchSourceSignal]) {
    let (signals, continuation) = AsyncStream.makeStream(of: Void.self)
    var sources: [any DispatchSourceSignal] = []
    for number in numbers {
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler { continuation.yield() }
      await withCheckedContinuation { isRegistered in
        source.setRegistrationHandler { isRegistered.resume() }
        source.resume()
      }
      sources.append(source)
    }
    return (signals, sources)
  }
}

/// A line on standard error.
func say(_ text: String) {
  let line = Array("nio-smtpd: \(text)\n".utf8)
  // Nobody is there to be told that nobody is there to be told.
  _ = write(STDERR_FILENO, line, line.count)
}
