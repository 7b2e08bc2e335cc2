// A session that begins with what was learnt of the program: it starts the program when it needs it, or not at all.

import SMTPState
import Transport

extension DaemonSession: LearntServerHost {
  /// What the program would send; nil if this session must start it. A rule's variables may change what the program sends, and a
  /// client without an IP address is none of those in whose names it was learnt.
  func learntReplies(now: Int) -> LearntReplies? {
    guard let learning = daemon.learning, let local, local.port != nil, peer.port != nil, !hasVariables else { return nil }
    return learning.replies(at: local, now: now)
  }

  func startServer() -> ServerStart {
    isProgramUnstarted = false
    // It was reserved as the first of two; the other one may still be needed after the handshake.
    reserve(driver.record.decision == nil ? 1 : 0)
    return startBackend(tls: nil)
  }

  func learntServerDiffers() {
    guard let local, let learnt else { return }
    daemon.learning?.differ(from: learnt, at: local, now: Clock.now())
  }

  /// The session is past the point at which the program was started without what was learnt.
  func countSavedStart() {
    if isProgramUnstarted { daemon.metrics.count(.startsSaved) }
    isProgramUnstarted = false
  }
}
