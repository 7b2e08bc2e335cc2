// Writes pending output to both sides and handles a side that accepts no more.
//
// First the output of the conversation, then what is queued: a relay queues what it reads, and a last reply of the
// driver's own comes after the replies of the session.

import Glibc
import SMTPState

extension SessionDriver {
  /// Writes pending output. A failed write marks its side broken.
  func flush() {
    while pendingToServer > 0, !serverBroken, server != nil {
      guard case .moved = writeToServer() else { break }
    }
    while pendingToClient > 0, !clientBroken {
      guard case .moved = writeToClient() else { break }
    }
    if pendingToClient == 0 && !endWaitsToWrite { stalled.stop() } else { stalled.start(now: now) }
  }

  /// How many octets the kernel has not accepted yet.
  var pendingToClient: Int { conversation.outputCount(to: .client) + toClient.count }
  var pendingToServer: Int { conversation.outputCount(to: serverParty) + toServer.count }

  private func writeToServer() -> IOResult {
    let answer =
      conversation.outputCount(to: serverParty) > 0
      ? conversation.drain(to: serverParty) { sendToServer($0) } : toServer.drain { sendToServer($0) }
    switch answer {
    case .moved(let count): idle.moved(count, now: now)
    case .failed: breakServer()
    case .wouldBlock, .ended: break
    }
    return answer
  }

  /// The server accepts no more output. Its pending output is dropped: a drain would wait for it for ever.
  func breakServer() {
    serverBroken = true
    conversation.dropOutput(to: serverParty)
    toServer.removeAll()
  }

  private func writeToClient() -> IOResult {
    let answer =
      conversation.outputCount(to: .client) > 0
      ? conversation.drain(to: .client) { sendToClient($0) } : toClient.drain { sendToClient($0) }
    writeWaitsToRead = answer == .wouldBlock && stream?.direction == .read
    switch answer {
    case .moved(let count):
      if record.sent == 0 { record.greetedAt = now }
      record.sent += count
      stalled.moved(count, now: now)
      idle.moved(count, now: now)
    case .failed:
      loseClient()
    case .wouldBlock, .ended:
      break
    }
    return answer
  }

  private func sendToServer(_ octets: UnsafeRawBufferPointer) -> IOResult {
    server?.send(octets) ?? .failed(SystemError("send", EPIPE))
  }

  private func sendToClient(_ octets: UnsafeRawBufferPointer) -> IOResult {
    stream?.write(octets) ?? clear?.write(octets) ?? .failed(SystemError("send", EPIPE))
  }

  /// The client accepts no more output.
  func loseClient() {
    clientBroken = true
    conversation.dropOutput(to: .client)
    toClient.removeAll()
  }

  /// True if the client is written to through a descriptor other than the one that is read.
  var hasSeparateOutput: Bool {
    if let stream { return stream.outputDescriptor != stream.descriptor }
    guard let input = clear?.inputNumber, let output = clear?.outputNumber else { return false }
    return input != output
  }
}

extension ObservedConversation {
  /// Lets `body` read the octets for a party and removes as many as it returns, as `ByteQueue.drain` does.
  fileprivate mutating func drain(to party: SMTPSession.Party, _ body: (UnsafeRawBufferPointer) -> IOResult) -> IOResult {
    var answer = IOResult.moved(0)
    withOutput(to: party) { octets in
      answer = octets.withUnsafeBytes(body)
      if case .moved(let count) = answer { return count }
      return 0
    }
    return answer
  }
}
