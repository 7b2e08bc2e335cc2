// The program stops while a client waits between two commands.
//
// RFC 5321, 3.8: a server closes a connection only after QUIT, or after a 421 when it has to stop; the 421 may come
// without a command. It is sent wherever a reply of ours may stand: in clear and inside TLS, not in the middle of a reply,
// not after a 220 to STARTTLS, and never in a relay.

import Glibc
import SMTPState

extension SessionDriver {
  /// Ends the session with `421 4.3.2` where that may be said, and closes it after a moment in which the client can read
  /// it: go on with `turn` until `isFinished`. Everything else is as before, see `isClosing`.
  public func shutDown(now: Int) {
    self.now = now
    guard state == .session, maySayReply, toClient.append(ServiceReply.shuttingDown) else { return }
    if record.decision == nil {
      decide(.cutOff)
      host.abort(.clientEnded)
    }
    linger(.stopped)
  }

  /// Whether all was said and only the client's end is waited for, which takes a moment at most.
  public var isClosing: Bool { state == .lingering }

  /// Whether the client is at a place where a reply may come.
  private var maySayReply: Bool {
    guard !session.isMidReply, !clientBroken, !clientOutputEnded, session.interest != .again else { return false }
    switch session.phase {
    case .greeting, .negotiating, .peekingBeforeReset, .resetting, .peekingAtServer, .peekingAtClient, .restarting,
      .regreeting, .secured, .quitting:
      return true
    case .promised, .handshaking, .refusing, .relaying, .closed:
      return false
    }
  }
}
