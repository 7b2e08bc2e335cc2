// How octets get to the session: peeked at, judged, and only then taken.
//
// Several lines may be judged from one peek. What they consumed is taken before any command that is more than moving
// held octets about, and before the side is left: `peek` must see the first octet that was not consumed.

import Glibc
import SMTPState

extension SessionDriver {
  /// Pulls the server; false when nothing moved.
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
      // A server whose connection broke has ended, whatever it had still to say.
      guard !serverEnded else { return false }
      serverEnded = true
      act(session.inputEnded(from: serverParty))
    case .wouldBlock:
      return false
    }
    return true
  }

  /// Pulls the client; false when nothing moved.
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

  /// Reads what the TLS layer has deciphered.
  func readDecrypted() -> IOResult {
    guard let stream else { return .failed(SystemError("read", EBADF)) }
    let answer = decrypted.fill { stream.read(into: $0) }
    noteRead(answer, stream)
    return answer
  }

  /// A read inside TLS deciphers many small records, or a large one: it counts as many steps.
  func noteRead(_ answer: IOResult, _ stream: any TLSStream) {
    readWaitsToWrite = answer == .wouldBlock && stream.direction == .write
    if case .moved = answer { stepsLeft = max(0, stepsLeft - SessionDriver.stepsOfRead) }
  }

  /// Shows octets to the session, line by line, as long as it wants that side and there is room for what they lead to.
  ///
  /// - Returns: how many were consumed; all of them are taken.
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
        // What it said was shown and stands; its connection broke behind that.
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
        // There is always room for what the session wants held. If not, better an end than a line cut short.
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

  /// The server's connection broke while what it had said was taken.
  private func loseServer() {
    serverEnded = true
    breakServer()
    if state == .session { act(session.inputEnded(from: serverParty)) }
  }

  /// Octets join their side's hold before their command is carried out; those that are dropped with it need not.
  private func hold(_ octets: UnsafeRawBufferPointer, of party: SMTPSession.Party, _ command: SMTPSession.Command) -> Bool {
    if command == .drop(party == .client ? .client : .reply) { return true }
    return party == .client ? clientHold.append(octets) : replyHold.append(octets)
  }

  /// The client's input is over: told once.
  private func endClient() -> Bool {
    guard !clientEnded else { return false }
    clientEnded = true
    act(session.inputEnded(from: .client))
    return true
  }

  // MARK: Ends that are seen without reading

  /// While the client is not wanted, its end shows only if nothing of it is unread.
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

  /// While TLS is awaited the server is not read, but its end is the session's.
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

  /// The client's next octet, which stays where it is.
  func lookAtClient() -> IOResult {
    if stream != nil {
      return decrypted.isEmpty ? readDecrypted() : .moved(1)
    }
    guard clear?.canPeek == true else { return clear?.lookForEnd() ?? .wouldBlock }
    var octet: UInt8 = 0
    return withUnsafeMutableBytes(of: &octet) { clear?.show(in: $0) ?? .wouldBlock }
  }

  /// Answers `peek`.
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
  /// Whether carrying it out only moves held octets about, so that the octets that led to it may be taken later.
  fileprivate var isLight: Bool {
    switch self {
    case .keep, .drop, .forward, .pass, .stash, .passEarlier: true
    case .reply, .resetServer, .peek, .endServer, .restart, .handoff, .abort, .relay, .close: false
    }
  }
}
