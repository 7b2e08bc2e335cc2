// The relay: octets both ways, each direction with its own end, nothing lost.
//
// An end of one side is passed on once all that was read from it is written. A side that takes nothing more (reset) is
// no reason to drop what came from it. The relay ends when both directions have, or when the server has closed both.

import Glibc
import SMTPState

extension Driver {
  func beginRelay() {
    state = .relaying
    ownUntil = now + timeouts.relayIdleMilliseconds
    if !clientHold.move(clientHold.count, to: &toServer) { breakServer() }
    if !replyHold.move(replyHold.count, to: &toClient) { clientBroken = true }
  }

  func relayStep() -> Bool {
    let before = record.sent &+ record.received
    flush()
    if clientBroken {
      // Nothing can be said to it any more, but all that was read from it is still delivered.
      let count = serverBroken ? 0 : min(decrypted.count, toServer.room)
      if count > 0 {
        record.received += count
        return decrypted.move(count, to: &toServer)
      }
      if toServer.isEmpty || serverBroken { return finish(.clientLost) }
      return false
    }
    // Both, whatever the first one came to: neither direction may starve the other.
    let (isServerMoved, isClientMoved) = (relayServer(), relayClient())
    let isMoved = isServerMoved || isClientMoved
    if isMoved || record.sent &+ record.received != before { ownUntil = now + timeouts.relayIdleMilliseconds }
    if passEndsOn() { return true }
    return isMoved
  }

  /// server -> client
  private func relayServer() -> Bool {
    guard !serverEnded, toClient.room > 0 else { return false }
    switch toClient.fill({ server?.receive(into: $0) ?? .ended }) {
    case .moved: return true
    case .wouldBlock: return false
    case .ended, .failed:
      serverEnded = true
      if server?.hasHungUp() != false { breakServer() }
      return true
    }
  }

  /// client -> server
  private func relayClient() -> Bool {
    guard !clientEnded, !serverBroken, toServer.room > 0 else { return false }
    if !decrypted.isEmpty {
      let count = min(decrypted.count, toServer.room)
      record.received += count
      return decrypted.move(count, to: &toServer)
    }
    let answer: Transfer
    if let stream {
      answer = toServer.fill { stream.read(into: $0) }
      readWaitsToWrite = answer == .wouldBlock && stream.direction == .write
    } else {
      answer = toServer.fill { clear?.read(into: $0) ?? .ended }
    }
    switch answer {
    case .moved(let count):
      record.received += count
      return true
    case .wouldBlock: return false
    case .ended:
      clientEnded = true
      return true
    case .failed:
      clientBroken = true
      return true
    }
  }

  /// Passes an end on behind the last octet that came before it.
  private func passEndsOn() -> Bool {
    if clientEnded && decrypted.isEmpty && toServer.isEmpty && !serverOutputEnded {
      serverOutputEnded = true
      server?.shutdownSending()
    }
    guard serverEnded && toClient.isEmpty else { return false }
    if serverOutputEnded || serverBroken {
      linger(.relayed)
      return true
    }
    endClientOutput()
    return false
  }
}
