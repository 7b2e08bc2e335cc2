// The end of a connection: write the pending output, end the sending half, then discard the client's input for a short
// time. A plain close with unread input would send a reset, and the client could lose the last reply.

import Glibc
import SMTPState

extension SessionDriver {
  /// The maximum number of octets to discard.
  private var discardLimit: Int { 65_536 }

  func linger(_ end: SessionRecord.End) {
    noteTruncation()
    record.end = end
    state = .lingering
    ownUntil = Clock.time(timeouts.outputStalledMilliseconds, after: now)
    discarded = 0
    // The server's connection is closed at once. Everything read from the client for the server is written, or cannot
    // be.
    server = nil
    replacement = nil
    conversation.dropOutput(to: serverParty)
    toServer.removeAll()
    decrypted.removeAll()
    fromServer.removeAll()
  }

  func lingerStep() -> Bool {
    flush()
    if clientBroken { return finish(.clientLost) }
    guard pendingToClient == 0 else { return false }
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

  /// Records an end of the client's octets without close_notify, the first time that it is seen.
  func noteTruncation() {
    guard record.truncation == nil, stream?.facts.truncated == true else { return }
    record.truncation = serverEnded || state == .lingering ? .afterServer : .beforeServer
  }

  /// Ends our half: close_notify inside TLS, then the sending half of the connection.
  ///
  /// - Returns: true if the half has ended. False if the kernel does not accept the close_notify yet: try again when it
  ///   does. The timer for stalled output runs meanwhile.
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
    guard clientMayHaveInput || stream?.hasPending == true else { return .wouldBlock }
    return withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { buffer in
      let answer = stream?.discardInput(into: buffer) ?? clear?.read(into: buffer) ?? .ended
      noteClientRead(answer, buffer.count)
      return answer
    }
  }
}
