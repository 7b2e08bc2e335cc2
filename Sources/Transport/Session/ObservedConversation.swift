// ObservedConversation: a conversation that shows an observer what enters and leaves it.
//
// Without an observer each call is a call of the conversation. With one, octets are given to the conversation line by line: the
// same octets in other spans lead to the same commands, so that an observer changes nothing.

package import SMTPState

/// An `SMTPConversation`, with an observer if there is one.
package struct ObservedConversation: ~Copyable {
  private var conversation: SMTPConversation
  /// Is shown what happens from now on.
  package var observer: (any ConversationObserver)?
  /// How many octets of each output the observer was shown.
  private var shownToClient = 0
  private var shownToServer = 0

  /// Creates a conversation that waits for the server's greeting.
  package init(_ policy: SMTPSession.Policy) {
    conversation = SMTPConversation(policy)
  }

  // MARK: State

  package var interest: SMTPSession.Interest { conversation.interest }
  package var hasRoomForReplies: Bool { conversation.hasRoomForReplies }
  package var deadline: SMTPSession.Deadline? { conversation.deadline }
  package var timerStarts: UInt32 { conversation.timerStarts }
  package var phase: SMTPSession.Phase { conversation.phase }
  package var isClearPhaseOver: Bool { conversation.isClearPhaseOver }
  package var lastVerb: SMTPSession.Verb { conversation.lastVerb }
  package var allowsReply: Bool { conversation.allowsReply }
  package var hasTakenOutKeywords: Bool { conversation.hasTakenOutKeywords }
  package var junkLines: Int { conversation.junkLines }
  package var refusedAuthentications: Int { conversation.refusedAuthentications }
  package func wants(_ party: SMTPSession.Party) -> Bool { conversation.wants(party) }
  package func outputCount(to party: SMTPSession.Party) -> Int { conversation.outputCount(to: party) }
  package func withLastLine(_ read: (Span<UInt8>) -> Void) { conversation.withLastLine(read) }
  package mutating func releaseMemory() { conversation.releaseMemory() }
  package mutating func discard() { conversation.discard() }

  // MARK: Events

  package mutating func receive(_ octets: Span<UInt8>, from party: SMTPSession.Party) -> Int {
    guard let observer else { return conversation.receive(octets, from: party) }
    var consumed = 0
    while consumed < octets.count, conversation.wants(party) {
      let rest = octets.extracting(droppingFirst: consumed)
      let isInChunk = party == .client && conversation.chunkLeft > 0
      let input: ClientInput = isInChunk ? .chunk : conversation.isInResponse ? .response : .command
      let length = isInChunk ? min(conversation.chunkLeft, rest.count) : ObservedConversation.lineLength(rest)
      let piece = rest.extracting(first: length)
      let count = conversation.receive(piece, from: party)
      guard count > 0 else { break }
      consumed += count
      let taken = piece.extracting(first: count)
      if party == .client { observer.received(taken, as: input) } else { observer.receivedFromServer(taken) }
      showOutput()
    }
    return consumed
  }

  package var chunkLeft: Int { conversation.chunkLeft }

  package mutating func inputEnded(from party: SMTPSession.Party) {
    conversation.inputEnded(from: party)
    show(.inputEnded(party))
  }

  package mutating func tlsUnavailable() {
    conversation.tlsUnavailable()
    show(.tlsUnavailable)
  }

  package mutating func peeked(_ first: UInt8?, ended: Bool) {
    conversation.peeked(first, ended: ended)
    show(.peeked(first, ended: ended))
  }

  package mutating func handshakeFinished(_ outcome: SMTPSession.HandshakeOutcome) {
    conversation.handshakeFinished(outcome)
    show(.handshakeFinished(outcome))
  }

  package mutating func serverRestarted(_ outcome: SMTPSession.RestartOutcome) {
    conversation.serverRestarted(outcome)
    show(.serverRestarted(outcome))
  }

  package mutating func timerExpired(_ kind: SMTPSession.Deadline) {
    conversation.timerExpired(kind)
    show(.timerExpired(kind))
  }

  package mutating func withOutput(to party: SMTPSession.Party, _ send: (Span<UInt8>) -> Int) {
    guard observer != nil else { return conversation.withOutput(to: party, send) }
    let isWaiting = conversation.interest == .drain
    var sent = 0
    conversation.withOutput(to: party) { octets in
      sent = send(octets)
      return sent
    }
    forget(sent, to: party)
    if isWaiting && conversation.interest != .drain { show(.drained) }
  }

  package mutating func dropOutput(to party: SMTPSession.Party) {
    let isWaiting = conversation.interest == .drain
    conversation.dropOutput(to: party)
    forget(Int.max, to: party)
    if isWaiting && conversation.interest != .drain { show(.drained) }
  }

  package mutating func nextDecision() -> SMTPConversation.Decision? {
    let decision = conversation.nextDecision()
    guard let observer else { return decision }
    showOutput()
    if let decision { observer.decided(decision) }
    return decision
  }

  // MARK: The observer

  private mutating func show(_ event: ConversationEvent) {
    guard let observer else { return }
    observer.happened(event)
    showOutput()
  }

  /// Shows the octets that were added to the outputs.
  private mutating func showOutput() {
    guard let observer else { return }
    // The output to a server that was ended is empty.
    shownToServer = min(shownToServer, conversation.outputCount(to: .server))
    if conversation.outputCount(to: .client) > shownToClient {
      conversation.withOutput(to: .client) { octets in
        observer.wrote(octets.extracting(droppingFirst: shownToClient))
        return 0
      }
      shownToClient = conversation.outputCount(to: .client)
    }
    if conversation.outputCount(to: .server) > shownToServer {
      let isResponse = conversation.lastVerb == .response
      conversation.withOutput(to: .server) { octets in
        observer.wroteToServer(octets.extracting(droppingFirst: shownToServer), isResponse: isResponse)
        return 0
      }
      shownToServer = conversation.outputCount(to: .server)
    }
  }

  private mutating func forget(_ count: Int, to party: SMTPSession.Party) {
    if party == .client { shownToClient -= min(count, shownToClient) } else { shownToServer -= min(count, shownToServer) }
  }

  /// The length of the first line, with its LF; of everything, if there is none.
  private static func lineLength(_ octets: Span<UInt8>) -> Int {
    for index in octets.indices where octets[index] == 0x0A { return index + 1 }
    return octets.count
  }
}
