// How octets reach the session: peek, judge, then take.
//
// Several lines may be judged from one peek. The consumed octets are taken before the driver leaves the side, and
// before any command that does more than move held octets: `peek` must see the first octet that was not consumed.

import Glibc
import SMTPState

extension SessionDriver {
  /// Reads from the server; false if nothing moved.
  func pullServer() -> Bool {
    let window = window.open()
    switch server?.peek(into: window) {
    case .moved(let count):
      judge(window, count, from: serverParty) { driver, octets throws(SystemError) in
        try driver.server?.take(octets.count, from: octets)
      }
    case .ended, nil:
      guard !serverEnded else { return false }
      serverEnded = true
      act(session.inputEnded(from: serverParty))
    case .failed:
      // A broken connection counts as the server's end, whatever was still to come.
      guard !serverEnded else { return false }
      serverEnded = true
      act(session.inputEnded(from: serverParty))
    case .wouldBlock:
      return false
    }
    return true
  }

  /// Reads from the client; false if nothing moved.
  func pullClient() -> Bool {
    clientHasUnread = false
    if stream != nil { return pullDecrypted() }
    let window = window.open()
    switch clear?.show(in: window) {
    case .moved(let count):
      record.received += judge(window, count, from: .client) { driver, octets throws(SystemError) in
        try driver.clear?.take(octets.count, from: octets)
      }
      return true
    case .ended: return endClient()
    case .failed, nil: return finish(.clientLost)
    case .wouldBlock: return false
    }
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
    let window = window.open()
    let count = decrypted.copyFirst(into: window)
    let consumed = judge(window, count, from: .client) { driver, octets throws(SystemError) in
      driver.decrypted.removeFirst(octets.count)
    }
    record.received += consumed
    return consumed > 0
  }

  /// Reads what the TLS layer has decrypted.
  func readDecrypted() -> IOResult {
    guard let stream else { return .failed(SystemError("read", EBADF)) }
    let answer = decrypted.fill { stream.read(into: $0) }
    noteRead(answer, stream)
    return answer
  }

  /// A read inside TLS decrypts many small records or one large record: it counts as many steps.
  func noteRead(_ answer: IOResult, _ stream: any TLSStream) {
    readWaitsToWrite = answer == .wouldBlock && stream.direction == .write
    if case .moved = answer { stepsLeft = max(0, stepsLeft - SessionDriver.stepsOfRead) }
  }

  /// Passes octets to the session, line by line, as long as it wants that side and there is room for the results.
  ///
  /// - Returns: the number of octets consumed; all of them are taken.
  @discardableResult
  private func judge(
    _ window: UnsafeMutableRawBufferPointer, _ count: Int, from party: SMTPSession.Party,
    take: (SessionDriver, UnsafeMutableRawBufferPointer) throws(SystemError) -> Void
  ) -> Int {
    let phase = session.phase
    var taken = 0
    var judged = 0
    var isServerLost = false
    func takeJudged() -> Bool {
      guard judged > taken else { return true }
      do {
        try take(self, UnsafeMutableRawBufferPointer(rebasing: window[taken..<judged]))
      } catch {
        guard party != .client else {
          _ = finish(.clientLost)
          return false
        }
        // The octets were already judged and remain valid; the connection broke after them.
        isServerLost = true
      }
      taken = judged
      return true
    }
    while judged < count, hasRoomForReplies, !isServerLost {
      guard party == .client ? canPullClient : wantsServer else { break }
      let octets = UnsafeRawBufferPointer(rebasing: window[judged..<count])
      let step = session.receive(octets.bindMemory(to: UInt8.self).span, from: party)
      judged += step.consumed
      let isKept = hold(UnsafeRawBufferPointer(rebasing: octets.prefix(step.consumed)), of: party, step.command)
      if !isKept {
        // There is always room for what the session wants held. If this ever fails, ending the session is better than
        // truncating a line.
        loseClient()
        break
      }
      if session.interest == .again || !step.command.isLight || session.phase != phase {
        guard takeJudged() else { return judged }
      }
      act(step.command)
      if state != .session || session.phase != phase { break }
    }
    guard takeJudged() else { return taken }
    if isServerLost { loseServer() }
    return judged
  }

  /// The server's connection broke while its octets were taken.
  private func loseServer() {
    serverEnded = true
    breakServer()
    if state == .session { act(session.inputEnded(from: serverParty)) }
  }

  /// Octets join the hold of their side before their command is carried out. Octets that the command drops are not
  /// stored.
  private func hold(_ octets: UnsafeRawBufferPointer, of party: SMTPSession.Party, _ command: SMTPSession.Command) -> Bool {
    if command == .drop(party == .client ? .client : .reply) { return true }
    return party == .client ? clientHold.append(octets) : replyHold.append(octets)
  }

  /// Reports the end of the client's input to the session, once.
  private func endClient() -> Bool {
    guard !clientEnded else { return false }
    clientEnded = true
    act(session.inputEnded(from: .client))
    return true
  }

  // MARK: Ends that are seen without reading

  /// While the session does not want the client, its end is visible only if none of its octets is unread.
  func noticeClientEnd() -> Bool {
    guard !wantsClient, !clientEnded, !clientHasUnread, state == .session else { return false }
    switch lookAtClient() {
    case .ended: return endClient()
    case .failed: return finish(.clientLost)
    case .moved:
      clientHasUnread = true
      return false
    case .wouldBlock:
      return false
    }
  }

  /// During the handshake the server is not read, but its end is reported to the session.
  func noticeServerEnd() -> Bool {
    guard !serverEnded, server != nil else { return false }
    var octet: UInt8 = 0
    let answer = withUnsafeMutableBytes(of: &octet) { server?.peek(into: $0) ?? .wouldBlock }
    switch answer {
    case .ended, .failed:
      serverEnded = true
      act(session.inputEnded(from: serverParty))
      return true
    case .moved:
      serverHasUnread = true
      return false
    case .wouldBlock:
      return false
    }
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

  /// Carries out `peek` and reports its result to the session.
  func peek(at party: SMTPSession.Party) -> SMTPSession.Command {
    guard host.isTLSAvailable() else { return session.tlsUnavailable() }
    var octet: UInt8 = 0
    let answer = withUnsafeMutableBytes(of: &octet) { octet in
      switch party {
      case .client: clear?.canPeek == true ? (clear?.show(in: octet) ?? .ended) : .wouldBlock
      case .server, .newServer: server?.peek(into: octet) ?? .ended
      }
    }
    switch answer {
    case .moved: return session.peeked(octet, ended: false)
    case .wouldBlock: return session.peeked(nil, ended: false)
    case .ended, .failed: return session.peeked(nil, ended: true)
    }
  }
}

extension SMTPSession.Command {
  /// True if the command only moves held octets. The octets that led to it may then be taken later.
  fileprivate var isLight: Bool {
    switch self {
    case .keep, .drop, .forward, .pass, .stash, .passEarlier: true
    case .reply, .resetServer, .peek, .endServer, .restart, .handoff, .abort, .relay, .close: false
    }
  }
}
