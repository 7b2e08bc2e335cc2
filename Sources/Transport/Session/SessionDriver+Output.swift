// Writes pending output to both sides and handles a side that accepts no more.

import Glibc

extension SessionDriver {
  /// Writes pending output. A failed write marks its side broken.
  func flush() {
    while !toServer.isEmpty, !serverBroken, server != nil {
      guard case .moved = writeToServer() else { break }
    }
    while !toClient.isEmpty, !clientBroken {
      guard case .moved = writeToClient() else { break }
    }
    if toClient.isEmpty && !endWaitsToWrite { stalled.stop() } else { stalled.start(now: now) }
  }

  private func writeToServer() -> IOResult {
    let answer = toServer.drain { server?.send($0) ?? .failed(SystemError("send", EPIPE)) }
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
    toServer.removeAll()
  }

  private func writeToClient() -> IOResult {
    let answer: IOResult
    if let stream {
      answer = toClient.drain { stream.write($0) }
      writeWaitsToRead = answer == .wouldBlock && stream.direction == .read
    } else {
      answer = toClient.drain { clear?.write($0) ?? .failed(SystemError("send", EPIPE)) }
    }
    switch answer {
    case .moved(let count):
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

  /// The client accepts no more output.
  func loseClient() {
    clientBroken = true
    toClient.removeAll()
  }

  /// True if the client is written to through a descriptor other than the one that is read.
  var hasSeparateOutput: Bool {
    if let stream { return stream.outputDescriptor != stream.descriptor }
    guard let input = clear?.inputNumber, let output = clear?.outputNumber else { return false }
    return input != output
  }
}
