// Oracle: the rules of a session once more (Docs/Rules.md), slow, simple and without bounds, written from the rules and
// not from the code: it never calls `SMTPSession`.
//
// It keeps all that a side has sent since its last line was judged, looks for whole lines in it, and remembers the names
// of the pending replies, not their number. What it predicts is everything that a caller does: every command that
// can be seen from outside, every octet to either side, how far each side is consumed, what is waited for, which timer
// runs.
//
// OracleClient.swift has the tables of commands, OracleServer.swift the replies, OracleSwitch.swift the way into TLS,
// OracleLines.swift single lines.

import SMTPState

struct Oracle {
  /// One side's octets.
  struct Stream {
    var octets: [UInt8] = []
    /// Where the first line that is not judged yet begins.
    var judged = 0
    /// What is consumed: the judged lines, and an incomplete one as far as it came.
    var taken = 0
    var hasEnded = false
    var isReported = false

    var line: [UInt8] { Array(octets[judged...]) }
    var isEmpty: Bool { taken == octets.count }
  }

  /// A line whose turn has not come.
  enum Waiting {
    case line(ClientLine)
    case tlsRecord
  }

  let policy: Policy
  let byHand: ByHand
  var deeds: [Deed] = []

  var phase = Phase.greeting
  var client = Stream()
  var server = Stream()

  // What is pending, and what has come of the reply to the first of it.
  /// The verbs of the commands whose replies are pending. `greeting`, `RSET!` (the session's own) and `response` are among them.
  var pending = ["greeting"]
  var reply: [ReplyLine] = []
  /// How many lines of that reply went out.
  var passed = 0
  /// Whether STARTTLS is among the lines of the reply to EHLO that is rewritten.
  var listsSTARTTLS = false
  var isUnasked = false

  // What the client sent.
  var waiting: Waiting?
  /// A line that waits and is above the limit of commands.
  var isOneTooMany = false
  var chunkLeft: Double = 0
  var chunkLine: ClientLine?
  var isExchanging = false
  var commands = 0
  var junk = 0

  // What was settled.
  var isDecided = false
  var isInsideTLS = false
  var greetingWas220 = false
  var hasAcceptedEHLO = false
  var hasGreetedInsideTLS = false
  var isAuthenticated = false
  var isTLSAvailable = true
  /// The old server is ended and no new one is there.
  var isBetweenServers = false
  var isTLSAtWork = false

  init(_ policy: Policy, byHand: ByHand = ByHand()) {
    self.policy = policy
    self.byHand = byHand
  }

  // MARK: - What the rules call it

  var isRequired: Bool { policy.security == .required }
  var isLMTP: Bool { policy.mailProtocol == .lmtp }
  var restarts: Bool { policy.serverReset == .restart }
  var allowsAuthentication: Bool { policy.allowsCleartextAuthentication && !isRequired }
  var isFinal: Bool { phase == .relaying || phase == .closed }
  /// The session reads commands.
  var isWatching: Bool { phase == .negotiating || phase == .secured }

  /// Between the lines of a reply that was passed on in part there is no text.
  var isWithinReply: Bool { passed > 0 }

  /// Inside TLS, where RSET keeps the name that was sent in clear: nothing that could use it.
  var mustGreetFirst: Bool { isInsideTLS && !restarts && !hasGreetedInsideTLS }

  var wouldAcceptSTARTTLS: Bool { !isInsideTLS && isTLSAvailable && greetingWas220 && !isAuthenticated }

  var wantsClient: Bool {
    guard isWatching, !client.isReported, !isUnasked else { return false }
    if chunkLine != nil { return true }
    let readsOn = pending.allSatisfy { ["RSET", "NOOP", "VRFY", "EXPN", "HELP", "ETRN"].contains($0) }
    return waiting == nil && readsOn && pending.count < min(255, max(1, policy.outstandingLimit))
  }

  var wantsServer: Bool {
    switch phase {
    case .greeting, .negotiating, .resetting, .regreeting, .secured, .quitting, .refusing: true
    case .peekingBeforeReset, .peekingAtServer, .peekingAtClient, .promised, .handshaking, .restarting, .relaying, .closed:
      false
    }
  }

  var interest: Interest {
    if phase == .promised { return .drain }
    guard wantsServer else { return .nothing }
    return wantsClient ? .both : .server
  }

  var deadline: Deadline? {
    switch phase {
    case .greeting, .restarting, .regreeting: .greeting
    case .negotiating, .secured: pending.isEmpty && !isUnasked ? .command : .reply
    case .quitting, .refusing: .reply
    case .peekingBeforeReset, .resetting, .peekingAtServer, .peekingAtClient: .reset
    case .promised, .handshaking: .handshake
    case .relaying, .closed: nil
    }
  }

  // MARK: - What is done

  mutating func deed(_ words: String, toClient: [UInt8] = [], toServer: [UInt8] = []) {
    deeds.append(
      Deed(
        words: words, toClient: toClient, toServer: toServer, clientTaken: client.taken, serverTaken: server.taken))
  }

  mutating func answer(_ code: String) {
    let text = Reply.allCases.first { $0.code == code }.map { Array($0.octets) } ?? []
    deed("reply \(code)", toClient: text)
  }

  mutating func abort(_ reason: String) {
    guard !isDecided else { return }
    isDecided = true
    deed("abort \(reason)")
  }

  mutating func close(_ reason: String, saying code: String? = nil) {
    abort(reason)
    if let code, !isWithinReply { answer(code) }
    deed("close \(reason)")
    phase = .closed
  }

  // MARK: - Events

  mutating func happen(_ event: Event) {
    switch event {
    case .arrives(let arrival): arrive(arrival)
    // Of a server that was replaced: it changes nothing.
    case .late: break
    case .peekedAsItIs:
      let stream = phase == .peekingAtServer ? server : client
      peeked(stream.octets[stream.taken...].first, ended: stream.isEmpty && stream.hasEnded)
    case .peeked(let octet, let ended): peeked(octet, ended: ended)
    case .drained: drained()
    case .unavailable: unavailable()
    case .secured(let outcome): secured(outcome)
    case .restarted(let outcome): restarted(outcome)
    case .expired(let deadline): expired(deadline)
    }
    while !isFinal, turn() {}
    if phase == .relaying { copy() }
  }

  private mutating func arrive(_ arrival: Arrival) {
    if !isTLSAtWork { client.octets += arrival.client }
    server.octets += arrival.server
    client.hasEnded = client.hasEnded || arrival.clientEnds
    server.hasEnded = server.hasEnded || arrival.serverEnds
  }

  /// The server is read before the client; an end is reported when nothing before it is unread.
  private mutating func turn() -> Bool {
    if phase == .promised, !byHand.drains {
      drained()
      return true
    }
    if wantsServer, !server.isEmpty {
      readServer()
      return true
    }
    if wantsServer, tellServerEnd() { return true }
    if wantsClient, !client.isEmpty {
      readClient()
      return true
    }
    return tellServerEnd() || tellClientEnd()
  }

  private mutating func tellServerEnd() -> Bool {
    guard server.isEmpty, server.hasEnded, !server.isReported, !isBetweenServers else { return false }
    server.isReported = true
    serverEnded()
    return true
  }

  private mutating func tellClientEnd() -> Bool {
    guard client.isEmpty, client.hasEnded, !client.isReported else { return false }
    client.isReported = true
    clientEnded()
    return true
  }

  private mutating func copy() {
    guard !client.isEmpty || !server.isEmpty else { return }
    deed("copied", toClient: Array(server.octets[server.taken...]), toServer: Array(client.octets[client.taken...]))
    client.taken = client.octets.count
    server.taken = server.octets.count
  }

  // MARK: - Ends

  private mutating func serverEnded() {
    switch phase {
    case .greeting: close("server ended", saying: "421 4.3.2")
    case .negotiating, .peekingBeforeReset, .resetting, .peekingAtServer, .secured:
      close("server ended", saying: "421 4.3.0")
    case .peekingAtClient: if !restarts { close("server ended", saying: "421 4.3.0") }
    case .promised, .handshaking: if !restarts { close("server ended") }
    case .restarting: break
    case .regreeting: close("restart failed", saying: "421 4.3.2")
    case .quitting: isWithinReply ? close("server ended") : close("quit", saying: "221 2.0.0")
    case .refusing: close("server refused")
    case .relaying, .closed: break
    }
  }

  private mutating func clientEnded() {
    switch phase {
    case .negotiating, .secured:
      chunkLine = nil
      closeIfAllIsDone()
    case .greeting, .peekingBeforeReset, .resetting, .peekingAtServer, .peekingAtClient, .promised, .restarting,
      .regreeting:
      close("client ended")
    case .handshaking, .quitting, .refusing, .relaying, .closed: break
    }
  }

  /// The client has ended, all its complete lines are executed and answered, and no unasked line waits to be judged.
  mutating func closeIfAllIsDone() {
    if isWatching, client.isReported, pending.isEmpty, waiting == nil, !isUnasked { close("client ended") }
  }

  private mutating func expired(_ kind: Deadline) {
    let isRunning = kind == .clearPhase ? !isDecided : kind == deadline
    guard !isFinal, isRunning else { return }
    let reason = "\(kind.words) timeout"
    switch kind {
    case .greeting: close(reason, saying: "421 4.3.2")
    case .command, .reply: close(reason, saying: "421 4.4.2")
    case .clearPhase: close(reason, saying: phase == .promised ? nil : "421 4.4.2")
    case .reset: close(reason, saying: "421 4.3.0")
    case .handshake: close(reason)
    }
  }
}
