// The way into TLS: the peek after STARTTLS, and the handoff.
//
// Purpose: no octet that was sent in clear is ever processed as if it had come inside TLS.
// Contract: octets after STARTTLS are in one of two places. NIO has read them, and they are in `fromClient`; or they are
// in the kernel. A channel cannot peek, but its socket can. The peek looks in both places, and plain text gets a reply
// (554). Octets that arrive after the peek stay in the kernel or in `fromClient` until the TLS handler is in the
// pipeline. The TLS handler receives them as the first octets of the handshake, so plain text makes the handshake fail.
// Failure: a handshake that fails closes the connection with the reason `tlsFailed`.

import Glibc
import NIOCore
import NIOSSL
import SMTPState

extension STARTTLSHandler {
  /// That party's next octet, nil if none waits; and whether its input has ended.
  func peek(at party: SMTPSession.Party, _ context: ChannelHandlerContext) -> (first: UInt8?, hasEnded: Bool) {
    guard party == .client else { return (fromServer.first, fromServer.hasEnded) }
    if let octet = fromClient.first { return (octet, false) }
    if fromClient.hasEnded { return (nil, true) }
    return context.channel.pipeline.syncOperations.peek()
  }

  /// Adds the TLS handler before this one, and gives it the octets that are already here: an early ClientHello.
  ///
  /// - Parameter proof: only the session makes one. The kernel has all replies in clear, the 220 included.
  func beginTLS(_ proof: SMTPSession.Handoff, _ context: ChannelHandlerContext) {
    report(.handedOff)
    let early = fromClient
    fromClient = Input()
    let pipeline = context.pipeline.syncOperations
    do {
      guard let tls else { throw ChannelError.inappropriateOperationForState }
      try pipeline.addHandler(NIOSSLServerHandler(context: tls), position: .before(self))
    } catch {
      handshake = .failed
      return
    }
    // From the head of the pipeline, as if the socket had just delivered them. The TLS handler answers by events.
    if early.octets.readableBytes > 0 {
      pipeline.fireChannelRead(NIOAny(early.octets))
      pipeline.fireChannelReadComplete()
    }
    if early.hasEnded { pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed) }
  }
}

extension ChannelPipeline.SynchronousOperations {
  /// The next octet in the kernel, and whether the input has ended. A channel without a socket has neither.
  fileprivate func peek() -> (first: UInt8?, hasEnded: Bool) {
    let found = try? withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) { socket -> (UInt8?, Bool) in
      var octet: UInt8 = 0
      while true {
        switch recv(socket, &octet, 1, CInt(MSG_PEEK | MSG_DONTWAIT)) {
        case 1: return (octet, false)
        case 0: return (nil, true)
        default:
          if errno == EINTR { continue }
          return (nil, errno != EAGAIN)
        }
      }
    }
    return found ?? (nil, false)
  }
}
