// ConversationCore+Commands: carries out the session's commands on the buffers of a conversation.
//
// Contract: commands that only move octets are done here. Any other becomes the decision that the caller fetches.
// Failure: an append that fails ends the session with the reason misuse.

extension ConversationCore {
  /// Appends a step's octets to their hold, then carries out its command. A line that is forwarded or passed at once is appended
  /// to the output directly. Octets that are dropped are not stored.
  mutating func take(_ octets: Span<UInt8>, from party: Party, _ command: Command) {
    guard let memory else { return }
    var isKept = true
    switch command {
    case .drop:
      break
    case .forward where party == .client, .pass where party != .client:
      return carryOut(command, octets)
    case .keep, .forward, .pass, .stash, .passEarlier, .reply, .resetServer, .peek, .endServer, .restart, .handoff, .abort,
      .relay, .close:
      isKept = party == .client ? buffers.client.append(octets, memory) : buffers.reply.append(octets, memory)
    }
    if isKept { carryOut(command) } else { fail() }
  }

  /// Counts a refused AUTH: the last line of a reply 5yz to AUTH, or to a response of its exchange.
  private mutating func noteAuthentication(_ output: OctetBuffer, from begin: Int, _ memory: UnsafeMutableRawPointer) {
    guard output.count >= begin + 4 else { return }
    let line = output.octets(memory) + begin
    if line[0] == 0x35 && line[3] != 0x2D && refusedAuthentications < .max { refusedAuthentications += 1 }
  }

  /// Counts the session's own replies to junk, and to AUTH in clear.
  private mutating func note(_ reply: Reply) {
    switch reply {
    case .syntaxError, .wrongGreeting, .badParameter, .unknownCommand, .badSequence:
      if junkLines < .max { junkLines += 1 }
    case .encryptionRequired:
      if refusedAuthentications < .max { refusedAuthentications += 1 }
    case .starttlsKeyword, .lastStarttlsKeyword, .readyForTLS, .goodbye, .serverFailed, .serverUnavailable, .timedOut, .tooManyCommands,
      .resetFailed, .tlsUnavailable, .badResponse, .tlsRequired, .chunkTooLarge, .wrongProtocol, .injectedPlaintext:
      break
    }
  }

  /// Carries out one command, or makes it the decision. A line that is forwarded or passed ends with `octets`, which are in no
  /// hold.
  mutating func carryOut(_ command: Command, _ octets: Span<UInt8> = Span()) {
    guard let memory else { return }
    var fits = true
    let before = buffers.toServer.count
    switch command {
    case .keep: break
    case .drop(.client): buffers.client.removeAll()
    case .drop(.reply):
      if session.phase == .negotiating && (lastVerb == .ehlo || lastVerb == .lhlo) { hasTakenOutKeywords = true }
      buffers.reply.removeAll()
    case .forward(let verb):
      fits = buffers.toServer.append(buffers.client, octets, .kept, memory)
      buffers.client.removeAll()
      lastVerb = verb
      lastLineLength = buffers.toServer.count - before
    case .pass(let separator):
      let begin = buffers.toClient.count
      fits = buffers.toClient.append(buffers.reply, octets, separator, memory)
      buffers.reply.removeAll()
      if lastVerb == .auth || lastVerb == .response { noteAuthentication(buffers.toClient, from: begin, memory) }
    case .passEarlier(let separator):
      fits = buffers.toClient.append(buffers.earlier, Span(), separator, memory)
      buffers.earlier.removeAll()
    case .stash:
      fits = buffers.earlier.append(buffers.reply, memory)
      buffers.reply.removeAll()
    case .reply(let reply):
      fits = buffers.toClient.append(reply.text, memory)
      buffers.client.removeAll()
      note(reply)
    case .resetServer:
      lastVerb = .rset
      fits = buffers.toServer.append("RSET\r\n", memory)
      lastLineLength = buffers.toServer.count - before
    case .peek(let party): decision = .peek(party)
    case .endServer:
      buffers.toServer.removeAll()
      lastLineLength = 0
      buffers.reply.removeAll()
      buffers.earlier.removeAll()
      decision = .endServer
    case .restart: decision = .restart
    case .handoff(let proof): decision = .handoff(proof)
    case .abort(let reason): decision = .abort(reason)
    case .relay:
      fits = buffers.toServer.append(buffers.client, memory) && buffers.toClient.append(buffers.reply, memory)
      lastLineLength = 0
      buffers.client.removeAll()
      buffers.reply.removeAll()
      decision = .relay
    case .close(let reason):
      buffers.client.removeAll()
      buffers.reply.removeAll()
      buffers.earlier.removeAll()
      decision = .close(reason)
    }
    // The timer starts again, or another kind runs.
    if command.restartsTimer || session.deadline != timer {
      timer = session.deadline
      timerStarts &+= 1
    }
    if !fits { fail() }
  }

  /// Octets did not fit, although `wants` had checked the room: end the session rather than truncate a line.
  private mutating func fail() {
    session.fail(.misuse, nil)
  }
}

extension OctetBuffer {
  /// Appends the octets of another buffer of the block.
  fileprivate mutating func append(_ other: OctetBuffer, _ memory: UnsafeMutableRawPointer) -> Bool {
    append(other.octets(memory), other.count, memory)
  }

  /// Appends one line (the held octets, then the others) and finishes it.
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
