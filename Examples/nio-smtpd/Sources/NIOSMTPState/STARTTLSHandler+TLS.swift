// The way into TLS: the look behind STARTTLS, and the handoff.
//
// Where the clear octets are at that moment: NIO reads in pieces, so a client that sent more than STARTTLS, most likely
// an attacker's injection, most likely has it in `fromClient`. The rest is in the kernel, where a channel cannot peek,
// but the socket below it can: what came before the look is seen, in either place, and refused with a reply. What comes
// later is not looked at, and need not be. It stays in the kernel, or arrives here before the TLS handler is in place,
// and goes to the TLS handler either way, as the first octets of what must be a handshake. An octet that was said in
// clear is in no case taken for one that was said inside TLS.

import Glibc
import NIOCore
import NIOSSL
import SMTPState

extension STARTTLSHandler {
  /// Answers `peek`.
  func peek(at party: SMTPSession.Party, _ context: ChannelHandlerContext) -> SMTPSession.Command {
    switch party {
    case .server, .newServer:
      return session.peeked(fromServer.firstOctet, ended: serverEnd != .notYet)
    case .client:
      if let octet = fromClient.firstOctet { return session.peeked(octet, ended: false) }
      if clientEnd != .notYet { return session.peeked(nil, ended: true) }
      switch context.channel.pipeline.syncOperations.peek() {
      case .octet(let octet): return session.peeked(octet, ended: false)
      case .nothing: return session.peeked(nil, ended: false)
      case .ended: return session.peeked(nil, ended: true)
      }
    }
  }

  /// Puts the TLS handler in front of this one, and gives it what came in the meantime: an eager ClientHello.
  ///
  /// - Parameter proof: the session makes it, and nobody else: all that was said in clear is with the kernel.
  func beginTLS(_ proof: SMTPSession.Handoff, _ context: ChannelHandlerContext) {
    report(.handedOff)
    let (early, hasEnded) = (fromClient, clientEnd != .notYet)
    fromClient = ByteBuffer()
    clientEnd = .notYet
    let pipeline = context.pipeline.syncOperations
    do {
      guard let tls else { throw ChannelError.inappropriateOperationForState }
      try pipeline.addHandler(NIOSSLServerHandler(context: tls), position: .before(self))
    } catch {
      handshake = .failed
      return
    }
    // From the head of the pipeline, as if they came from the socket now. The TLS handler answers by events.
    if early.readableBytes > 0 {
      pipeline.fireChannelRead(NIOAny(early))
      pipeline.fireChannelReadComplete()
    }
    if hasEnded { pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed) }
  }
}

/// What a socket has unread.
private enum Peek {
  case octet(UInt8)
  case nothing
  case ended
}

extension ChannelPipeline.SynchronousOperations {
  /// Looks at the next octet in the kernel; `.nothing` for a channel that has no socket.
  fileprivate func peek() -> Peek {
    let found = try? withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) { socket -> Peek in
      var octet: UInt8 = 0
      while true {
        switch recv(socket, &octet, 1, CInt(MSG_PEEK | MSG_DONTWAIT)) {
        case 1: return .octet(octet)
        case 0: return .ended
        default:
          if errno == EINTR { continue }
          return errno == EAGAIN ? .nothing : .ended
        }
      }
    }
    return found ?? .nothing
  }
}
