// Shutdown of the program while a client is between two commands.
//
// RFC 5321, 3.8: a server closes a connection only after QUIT, or after a 421 when it has to stop. The 421 may come
// without a command. It is sent wherever a reply of ours is allowed, in clear or inside TLS. It is never sent in the
// middle of a reply, after a 220 to STARTTLS, or in a relay.

import Glibc
import SMTPState

extension SessionDriver {
  /// Ends the session with `421 4.3.2` if a reply is allowed now. The connection closes shortly after that, so that the
  /// client can read the reply: continue to call `turn` until `isFinished`. Otherwise the session continues, see
  /// `isClosing`.
  public func shutDown(now: Int) { shutDown(now: now, ServiceReply.shuttingDown) }

  /// The same with this reply.
  package func shutDown(now: Int, _ reply: StaticString) {
    self.now = now
    guard isBeforeGreeting || state == .replaying || state == .session && conversation.allowsReply, !clientBroken, !clientOutputEnded,
      toClient.append(reply)
    else { return }
    if record.decision == nil {
      decide(.cutOff)
      host.abort(.clientEnded)
    }
    isBeforeGreeting = false
    linger(.stopped)
  }

  /// True if all replies were queued and only the client's end is pending, which takes a short time.
  public var isClosing: Bool { state == .lingering }
}
