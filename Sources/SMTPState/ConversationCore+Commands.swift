// What a conversation does with each of the session's commands.

extension ConversationCore {
  /// A step's octets join their hold, then its command is carried out. A line that is forwarded or passed at once goes
  /// to the output directly; octets that are dropped go nowhere.
  mutating func take(_ octets: Span<UInt8>, from party: Party, _ command: Command) {
    guard let memory else { return }
    var isKept = true
    switch command {
    case .drop:
      break
    case .forward where party == .client:
      isKept = buffers.toServer.append(buffers.client, octets, .kept, memory)
      buffers.client.removeAll()
      noteForward(command)
      return finish(command, isKept)
    case .pass(let separator) where party != .client:
      isKept = buffers.toClient.append(buffers.reply, octets, separator, memory)
      buffers.reply.removeAll()
      return finish(command, isKept)
    case .keep, .forward, .pass, .stash, .passEarlier, .reply, .resetServer, .peek, .endServer, .restart, .handoff, .abort,
      .relay, .close:
      isKept = party == .client ? buffers.client.append(octets, memory) : buffers.reply.append(octets, memory)
    }
    if isKept { carryOut(command) } else { fail() }
  }

  /// Carries one command out. What is left to the caller becomes the decision.
  mutating func carryOut(_ command: Command) {
    guard let memory else { return }
    var fits = true
    switch command {
    case .keep: break
    case .drop(.client): buffers.client.removeAll()
    case .drop(.reply):
      if session.phase == .negotiating && (lastVerb == .ehlo || lastVerb == .lhlo) { hasTakenOutKeywords = true }
      buffers.reply.removeAll()
    case .forward:
      fits = buffers.toServer.append(buffers.client, Span(), .kept, memory)
      buffers.client.removeAll()
      noteForward(command)
    case .pass(let separator):
      fits = buffers.toClient.append(buffers.reply, Span(), separator, memory)
      buffers.reply.removeAll()
    case .passEarlier(let separator):
      fits = buffers.toClient.append(buffers.earlier, Span(), separator, memory)
      buffers.earlier.removeAll()
    case .stash:
      fits = buffers.earlier.append(buffers.reply, memory)
      buffers.reply.removeAll()
    case .reply(let reply):
      fits = buffers.toClient.append(reply.text, memory)
      buffers.client.removeAll()
    case .resetServer:
      lastVerb = .rset
      fits = buffers.toServer.append("RSET\r\n", memory)
    case .peek(let party): decision = .peek(party)
    case .endServer:
      buffers.toServer.removeAll()
      buffers.reply.removeAll()
      buffers.earlier.removeAll()
      decision = .endServer
    case .restart: decision = .restart
    case .handoff(let proof): decision = .handoff(proof)
    case .abort(let reason): decision = .abort(reason)
    case .relay:
      fits = buffers.toServer.append(buffers.client, memory) && buffers.toClient.append(buffers.reply, memory)
      buffers.client.removeAll()
      buffers.reply.removeAll()
      decision = .relay
    case .close(let reason):
      buffers.client.removeAll()
      buffers.reply.removeAll()
      buffers.earlier.removeAll()
      decision = .close(reason)
    }
    finish(command, fits)
  }

  private mutating func noteForward(_ command: Command) {
    if case .forward(let verb) = command { lastVerb = verb }
  }

  /// After a command: the timer starts again, or another one does.
  private mutating func finish(_ command: Command, _ fits: Bool) {
    if command.restartsTimer || session.deadline != timer {
      timer = session.deadline
      timerStarts &+= 1
    }
    if !fits { fail() }
  }

  /// Something did not fit, although there was room by contract: better an end than a line that is cut.
  private mutating func fail() {
    session.fail(.misuse, nil)
  }
}

extension OctetBuffer {
  /// Appends what another buffer of the block holds.
  fileprivate mutating func append(_ other: OctetBuffer, _ memory: UnsafeMutableRawPointer) -> Bool {
    append(other.octets(memory), other.count, memory)
  }

  /// Appends one line, the held octets and then the others, and ends it.
  fileprivate mutating func append(
    _ held: OctetBuffer, _ octets: Span<UInt8>, _ separator: ReplySeparator, _ memory: UnsafeMutableRawPointer
  ) -> Bool {
    let length = held.count + octets.count
    guard length + LineEnd.room <= room else { return false }
    return append(held, memory) && append(octets, memory) && finishLine(length: length, separator, memory)
  }

  /// Appends a text.
  fileprivate mutating func append(_ text: StaticString, _ memory: UnsafeMutableRawPointer) -> Bool {
    append(text.utf8Start, text.utf8CodeUnitCount, memory)
  }
}
