// How octets reach the conversation.
//
// The client in clear: peek, let it consume, then take. One peek may show several lines, of which the conversation consumes
// as many as it can. The consumed octets are taken before any decision is carried out: a peek must show the first octet that
// was not consumed. The server, and the client inside TLS: receive, and keep what is not consumed. A side whose input is
// known to be empty is not read until an event is reported.

import Glibc
import SMTPState

extension SessionDriver {
  /// Reads from the server; false if nothing moved.
  func pullServer() -> Bool {
    switch receiveFromServer() {
    case .moved: break
    // A broken connection counts as the server's end, whatever was still to come.
    case .ended, .failed: return endServerInput()
    case .wouldBlock: return false
    }
    // All lines that can be consumed, before the output is sent.
    var total = 0
    var goesOn = true
    while goesOn {
      let consumed = fromServer.withFirstPiece { consume($0, from: serverParty) }
      fromServer.removeFirst(consumed)
      total += consumed
      let hasDecided = carryOutDecisions()
      goesOn = consumed > 0 && !hasDecided && !fromServer.isEmpty && canPullServer
    }
    return total > 0
  }

  /// Receives octets of the server, unless some are kept.
  private func receiveFromServer() -> IOResult {
    if !fromServer.isEmpty { return .moved(fromServer.count) }
    guard serverMayHaveInput || server?.hasPending == true else { return .wouldBlock }
    var offered = 0
    let answer = fromServer.fill {
      offered = $0.count
      return server?.receive(into: $0) ?? .ended
    }
    noteServerRead(answer, offered)
    return answer
  }

  /// After a read from the server: a read that returns less than was offered has left nothing.
  func noteServerRead(_ answer: IOResult, _ offered: Int) {
    switch answer {
    case .moved(let count):
      hasServerSpoken = true
      serverMayHaveInput = count == offered
    case .wouldBlock: serverMayHaveInput = false
    case .ended, .failed: break
    }
  }

  /// The same for the client.
  func noteClientRead(_ answer: IOResult, _ offered: Int) {
    switch answer {
    case .moved(let count): clientMayHaveInput = count == offered
    case .wouldBlock: clientMayHaveInput = false
    case .ended, .failed: break
    }
  }

  /// Reads from the client; false if nothing moved.
  func pullClient() -> Bool {
    clientHasUnread = false
    if stream != nil { return pullDecrypted() }
    guard clientMayHaveInput else { return false }
    let window = window.open()
    switch clear?.show(in: window) {
    case .moved(let count):
      let shown = UnsafeRawBufferPointer(rebasing: window.prefix(count))
      let consumed = heloReading == nil ? consume(shown, from: .client) : consumeReadingHelo(shown)
      do throws(SystemError) {
        try clear?.take(consumed, from: window)
      } catch {
        return finish(.clientLost)
      }
      if clear?.canPeek == true, consumed == count { noteClientRead(.moved(count), window.count) }
      record.received += consumed
      carryOutDecisions()
      return consumed > 0
    case .ended: return endClient()
    case .failed, nil: return finish(.clientLost)
    case .wouldBlock: return noteNothingShown()
    }
  }

  /// A peek at the client has found nothing, although poll may have reported input.
  private func noteNothingShown() -> Bool {
    clientMayHaveInput = false
    do throws(SystemError) {
      try clear?.dropUrgentOctet()
    } catch {
      return finish(.clientLost)
    }
    return false
  }

  private func pullDecrypted() -> Bool {
    if decrypted.isEmpty {
      switch readDecrypted() {
      case .moved: break
      case .ended: return endClient()
      case .failed: return finish(.clientLost)
      case .wouldBlock: return false
      }
    }
    let consumed = decrypted.withFirstPiece { consume($0, from: .client) }
    decrypted.removeFirst(consumed)
    record.received += consumed
    carryOutDecisions()
    return consumed > 0
  }

  /// Lets the conversation consume octets, line by line, as long as it wants that party and there is room for the
  /// results.
  ///
  /// - Returns: how many octets were consumed. Take exactly these, then carry out the decisions.
  func consume(_ octets: UnsafeRawBufferPointer, from party: SMTPSession.Party) -> Int {
    let consumed = conversation.receive(octets.bindMemory(to: UInt8.self).span, from: party)
    switch conversation.lastVerb {
    // No other line is forwarded before the reply to this one.
    case .ehlo, .helo, .lhlo: conversation.withLastLine { record.noteHelo($0) }
    default: break
    }
    record.tookOutKeywords = conversation.hasTakenOutKeywords
    record.junkLines = conversation.junkLines
    record.refusedAuthentications = conversation.refusedAuthentications
    return consumed
  }

  /// Reads what the TLS layer has decrypted.
  func readDecrypted() -> IOResult {
    guard let stream else { return .failed(SystemError("read", EBADF)) }
    guard clientMayHaveInput || stream.hasPending else { return .wouldBlock }
    var offered = 0
    let answer = decrypted.fill {
      offered = $0.count
      return stream.read(into: $0)
    }
    noteRead(answer, stream, offered)
    return answer
  }

  /// A read inside TLS decrypts many small records or one large record: it counts as many steps. After EPROTO the TLS
  /// layer knows why; any other error is the socket's.
  func noteRead(_ answer: IOResult, _ stream: any TLSStream, _ offered: Int) {
    noteClientRead(answer, offered)
    readWaitsToWrite = answer == .wouldBlock && stream.direction == .write
    switch answer {
    case .moved: stepsLeft = max(0, stepsLeft - SessionDriver.stepsOfRead)
    case .failed(let error) where error.code == EPROTO && record.failure == nil: record.failure = stream.failure
    case .failed, .ended, .wouldBlock: break
    }
  }

  /// Reports the end of the server's input to the conversation, once.
  private func endServerInput() -> Bool {
    guard !serverEnded else { return false }
    serverEnded = true
    conversation.inputEnded(from: serverParty)
    carryOutDecisions()
    return true
  }

  /// Reports the end of the client's input to the conversation, once.
  private func endClient() -> Bool {
    guard !clientEnded else { return false }
    clientEnded = true
    noteTruncation()
    conversation.inputEnded(from: .client)
    carryOutDecisions()
    return true
  }

  // MARK: Ends that are seen without reading

  /// While the conversation does not want the client, its end is visible only if none of its octets is unread.
  func noticeClientEnd() -> Bool {
    guard !wantsClient, !clientEnded, !clientHasUnread, state == .session, clientMayHaveInput || stream != nil else { return false }
    switch lookAtClient() {
    case .ended: return endClient()
    case .failed: return finish(.clientLost)
    case .moved:
      clientHasUnread = true
      return false
    case .wouldBlock: return noteNothingShown()
    }
  }

  /// During the handshake the server is not read, but its end is reported to the conversation.
  func noticeServerEnd() -> Bool {
    guard !serverEnded, server != nil, serverMayHaveInput || !fromServer.isEmpty else { return false }
    var octet: UInt8 = 0
    let answer = withUnsafeMutableBytes(of: &octet) { lookAtServer(into: $0) }
    switch answer {
    case .ended, .failed:
      return endServerInput()
    case .moved:
      serverHasUnread = true
      return false
    case .wouldBlock:
      serverMayHaveInput = false
      return false
    }
  }

  /// Shows the server's next octet and leaves it in place.
  func lookAtServer(into octet: UnsafeMutableRawBufferPointer) -> IOResult {
    guard fromServer.isEmpty else {
      fromServer.withFirstPiece { octet.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0.prefix(1))) }
      return .moved(1)
    }
    return server?.peek(into: octet) ?? .ended
  }

  /// Peeks at the client's next octet and leaves it in place.
  func lookAtClient() -> IOResult {
    if stream != nil {
      return decrypted.isEmpty ? readDecrypted() : .moved(1)
    }
    guard clear?.canPeek == true else { return clear?.lookForEnd() ?? .wouldBlock }
    var octet: UInt8 = 0
    return withUnsafeMutableBytes(of: &octet) { clear?.show(in: $0) ?? .wouldBlock }
  }
}
