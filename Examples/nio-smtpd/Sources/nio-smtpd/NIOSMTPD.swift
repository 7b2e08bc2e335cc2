// nio-smtpd: an SMTP server on SwiftNIO, with STARTTLS by SMTPState.
//
//   nio-smtpd [--listen address:port] [--certificate chain.pem --key key.pem] [--require-tls] [--name name] folder
//
// Accepts mail for any recipient and stores each message as a file in the folder. Never relays mail. Without a
// certificate STARTTLS is not offered; with --require-tls, mail without TLS is refused. The default is a free port of
// 127.0.0.1. The port, each result of STARTTLS and each close by the session are reported on standard error. After
// SIGTERM or SIGINT the program ends when all mail transactions are complete, or after ten seconds.
//
// Exit codes: 0 ended by a signal, 100 wrong arguments or certificate, 111 cannot listen.
//
// The pipeline of a connection, from the socket to the server, with the module of each handler. Read STARTTLSHandler first.
//
//   LingeringCloseHandler  NIOSMTPState   delivers the last reply before a close
//   IdleStateHandler       NIOCore        ends an idle connection
//   NIOSSLServerHandler    NIOSSL         from the handoff on
//   STARTTLSHandler        NIOSMTPState   until the conversation relays
//   SMTPServerHandler      SMTPServer     a new one after a handshake
//   BackPressureHandler    NIOCore        stops reading while the client does not read its replies

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
    // Before the program listens, so that no signal is lost.
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
      // Octets that are read before the session wants them fit into one buffer of a fixed size.
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
      // Longer than any timer of the session, and longer than the ten minutes that a client waits for the reply to its
      // message (RFC 5321, 4.5.3.2.6).
      IdleStateHandler(allTimeout: .minutes(11)),
      watch,
      BackPressureHandler(),
    ])
  }

  /// A stream of these signals. Signals after the first have no effect: the program is already ending.
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

/// Writes a line to standard error.
func say(_ text: String) {
  let line = Array("nio-smtpd: \(text)\n".utf8)
  // An error is ignored: there is no other place to report it.
  _ = write(STDERR_FILENO, line, line.count)
}
