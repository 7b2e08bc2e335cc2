// The relay: copies octets in both directions without loss. Each direction has its own end.
//
// The end of one side is passed on after all octets read from it are written. If a side accepts no more output (reset),
// the octets read from that side are still delivered. The relay ends when both directions have ended, or when the
// server has closed both.
//
// If the client's connection breaks, the relay ends as soon as the server has taken what was read from the client, and
// in any case after `Timeouts.clientLostMilliseconds`. Meanwhile the server's output is read and discarded, because a
// server that blocks in a write does not read.

import Glibc
import SMTPState

extension SessionDriver {
  func beginRelay() {
    state = .relaying
    idle.start(now: now)
  }

  func relayStep() -> Bool {
    flush()
    if clientBroken { return leaveRelay() }
    if replaceLearntServer() { return true }
    // Run both, whatever the result of the first: neither direction may starve the other.
    let (isServerMoved, isClientMoved) = (relayServer(), relayClient())
    if clientBroken { return true }
    if hasEndedWithoutGreeting { return endWithoutServer(.restartFailed) }
    if hasClientEndedWithoutGreeting { return endWithoutClient() }
    let isMoved = isServerMoved || isClientMoved
    if passEndsOn() { return true }
    return isMoved
  }

  /// server -> client
  private func relayServer() -> Bool {
    guard !serverEnded, toClient.room > 0 else { return false }
    if !fromServer.isEmpty {
      let room = toClient.room
      let count = fromServer.withFirstPiece { octets in
        countRefusals(octets.prefix(room))
        return min(octets.count, room)
      }
      return fromServer.move(count, to: &toClient)
    }
    guard serverMayHaveInput else { return false }
    var offered = 0
    let answer = toClient.fill { buffer in
      offered = buffer.count
      let answer = server?.receive(into: buffer) ?? .ended
      if case .moved(let count) = answer { countRefusals(UnsafeRawBufferPointer(buffer).prefix(count)) }
      return answer
    }
    noteServerRead(answer, offered)
    switch answer {
    case .moved: return true
    case .wouldBlock: return false
    case .ended, .failed:
      serverEnded = true
      if server?.hasHungUp() != false { breakServer() }
      return true
    }
  }

  private func countRefusals(_ octets: Slice<UnsafeRawBufferPointer>) {
    record.refusedAuthentications += refusals.received(UnsafeRawBufferPointer(rebasing: octets))
  }

  /// client -> server
  private func relayClient() -> Bool {
    guard !clientEnded, !serverBroken, toServer.room > 0 else { return false }
    if !decrypted.isEmpty {
      let count = min(decrypted.count, toServer.room)
      noteReceived(count)
      return decrypted.move(count, to: &toServer)
    }
    guard clientMayHaveInput || stream?.hasPending == true else { return false }
    var offered = 0
    let answer = toServer.fill {
      offered = $0.count
      return stream?.read(into: $0) ?? clear?.read(into: $0) ?? .ended
    }
    if let stream { noteRead(answer, stream, offered) } else { noteClientRead(answer, offered) }
    switch answer {
    case .moved(let count):
      noteReceived(count)
      return true
    case .wouldBlock: return false
    case .ended:
      clientEnded = true
      noteTruncation()
      return true
    case .failed:
      clientEnded = true
      loseClient()
      return true
    }
  }

  private func noteReceived(_ count: Int) {
    record.received += count
    idle.moved(count, now: now)
  }

  // MARK: The client is gone

  /// One step after the client's connection broke.
  private func leaveRelay() -> Bool {
    if !isLeavingRelay {
      isLeavingRelay = true
      ownUntil = Clock.time(timeouts.clientLostMilliseconds, after: now)
    }
    // Two descriptors break separately: what the client has written to the input is still delivered.
    let isRead = (!decrypted.isEmpty || hasSeparateOutput) && relayClient()
    let isDone = decrypted.isEmpty && pendingToServer == 0 && (clientEnded || !hasSeparateOutput)
    if isDone || serverBroken { return finish(.clientLost) }
    return discardServer() || isRead
  }

  /// Reads the server's output and discards it, so that the server can continue.
  private func discardServer() -> Bool {
    guard !serverEnded else { return false }
    toClient.removeAll()
    defer { toClient.removeAll() }
    return relayServer()
  }

  /// Passes an end on after the last octet that came before it.
  private func passEndsOn() -> Bool {
    if clientEnded && decrypted.isEmpty && pendingToServer == 0 && !serverOutputEnded {
      serverOutputEnded = true
      server?.shutdownSending()
    }
    guard serverEnded && pendingToClient == 0 else { return false }
    if serverOutputEnded || serverBroken {
      linger(.relayed)
      return true
    }
    _ = endClientOutput()
    return false
  }
}
