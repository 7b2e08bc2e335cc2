// The end of a connection: what was said is written, the sending half is ended, and what the client still sends is
// discarded for a moment. A plain close with unread input would send a reset, which can take the last reply back.

import Glibc
import SMTPState

extension SessionDriver {
  /// At most so many octets are discarded.
  private var discardLimit: Int { 65_536 }

  func linger(_ end: SessionRecord.End) {
    record.end = end
    state = .lingering
    ownUntil = Clock.time(timeouts.outputStalledMilliseconds, after: now)
    discarded = 0
    // The server hears of the end at once; all that was read from the client for it is written or cannot be.
    server = nil
    toServer.removeAll()
    decrypted.removeAll()
  }

  func lingerStep() -> Bool {
    flush()
    if clientBroken { return finish(.clientLost) }
    guard toClient.isEmpty else { return false }
    if !clientOutputEnded {
      guard endClientOutput() else { return false }
      ownUntil = Clock.time(timeouts.lingerMilliseconds, after: now)
    }
    if clientEnded { return finish(.relayed) }
    switch discardInput() {
    case .moved(let count):
      discarded += count
      return discarded < discardLimit ? true : finish(.relayed)
    case .wouldBlock: return false
    case .ended, .failed: return finish(.relayed)
    }
  }

  /// Ends our half: close_notify inside TLS, then the connection's sending half.
  ///
  /// - Returns: whether it has ended. If not, the kernel does not take the close_notify yet: try again once it does. The
  ///   timer of output that is not taken runs meanwhile.
  func endClientOutput() -> Bool {
    guard !clientOutputEnded else { return true }
    if let stream {
      endWaitsToWrite = !stream.endSending()
    } else {
      clear?.shutdownSending()
    }
    clientOutputEnded = !endWaitsToWrite
    return clientOutputEnded
  }

  private func discardInput() -> IOResult {
    withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { buffer in
      if let stream { return stream.discardInput(into: buffer) }
      return clear?.read(into: buffer) ?? .ended
    }
  }
}
