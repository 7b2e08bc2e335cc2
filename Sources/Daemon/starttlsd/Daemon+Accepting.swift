// A connection from its accept to its session: the access rule, the limits of all clients, the limits of the address,
// the wait before the greeting, the backend.
//
// A client that is refused for its address never delays another one: if too many clients are being refused, it is closed
// directly after its reply.

import ClientAccess
import Glibc
import Logging
import Transport

extension Daemon {
  /// A connection was accepted. One from a front waits for the header that names the client.
  ///
  /// - Parameter isImplicit: true if the client begins with TLS. Then it is never sent text in clear: where another one gets
  ///   a reply and is closed, it is closed.
  func accept(_ connection: consuming Connection, isImplicit: Bool, now: Int) {
    metrics.count(.connections)
    let front = connection.peer.ofClient
    guard configuration.fronts.contains(where: { $0.contains(front) }) else {
      return admit(connection, isImplicit: isImplicit, now: now)
    }
    defer { reconsider() }
    guard case .serve = admission.answer else { return refuseForLackOfRoom(connection, isImplicit: isImplicit, now: now) }
    let header = FrontHeader(self, connection, isImplicit: isImplicit)
    do {
      try header.begin(now: now)
    } catch {
      return acceptWarning.note("\(header.peer): no session can be started: \(error)", now: now)
    }
    headers[ObjectIdentifier(header)] = header
    countSessions()
  }

  /// A header has arrived, or will not.
  ///
  /// - Parameter failure: why the connection is closed; nil if it continues.
  func finished(_ header: FrontHeader, _ connection: consuming Connection, _ failure: String?, now: Int) {
    guard headers.removeValue(forKey: ObjectIdentifier(header)) != nil else { return }
    countSessions()
    if let failure {
      metrics.count(.proxyHeader)
      frontWarning.note("\(SessionLine.peer(header.peer)) is closed: \(failure) (--proxy-from)", now: now)
      return reconsider()
    }
    admit(connection, isImplicit: header.isImplicit, now: now)
  }

  /// A client is known by its address.
  private func admit(_ connection: consuming Connection, isImplicit: Bool, now: Int) {
    defer { reconsider() }
    let peer = connection.peer.ofClient
    var variables: [String] = []
    if addresses.isDenied(peer, variables: &variables, now: now) {
      return turnAway(connection, ServiceReply.accessDenied, isImplicit: isImplicit, now: now)
    }
    if case .serve = admission.answer {
      guard addresses.admits(peer, now: now) else {
        return turnAway(connection, ServiceReply.tooManyFromAddress, isImplicit: isImplicit, now: now)
      }
      if isGone(connection) { return leftEarly(peer, "client lost", now: now) }
      if isImplicit { return serveImplicitly(connection, variables, now: now) }
      if configuration.greetingWaitMilliseconds > 0 && !addresses.isExempt(peer) {
        return wait(connection, variables, now: now)
      }
      return serve(connection, variables, now: now)
    }
    refuseForLackOfRoom(connection, isImplicit: isImplicit, now: now)
  }

  /// The limits of all clients do not allow a session.
  private func refuseForLackOfRoom(_ connection: consuming Connection, isImplicit: Bool, now: Int) {
    if case .refuse(let reason) = admission.answer {
      let answer = isImplicit ? "is closed" : "gets 421 4.3.2"
      refusalWarning.note("\(SessionLine.peer(connection.peer.ofClient)) \(answer): \(reason)", now: now)
    }
    // `.wait` only if a limit was reached within this batch of connections; an additional refusal has no effect.
    refuseForCapacity(connection, isImplicit: isImplicit, usingSpare: false, now: now)
  }

  /// Starts the session of an admitted client that begins with TLS.
  private func serveImplicitly(_ connection: consuming Connection, _ variables: [String], now: Int) {
    let session = DaemonSession(self, connection, variables: variables)
    guard session.beginSecured(connection, now: now) else { return addresses.sessionEnded(session.peer, now: now) }
    run(session, now: now)
  }

  /// Starts the session of an admitted client.
  private func serve(_ connection: consuming Connection, _ variables: [String], now: Int) {
    let session = DaemonSession(self, connection, variables: variables)
    do {
      try session.begin(connection, now: now)
    } catch {
      session.abandon()
      addresses.sessionEnded(session.peer, now: now)
      return acceptWarning.note("\(session.peer): no session can be started: \(error)", now: now)
    }
    run(session, now: now)
  }

  private func run(_ session: DaemonSession, now: Int) {
    sessions[ObjectIdentifier(session)] = session
    countSessions()
    session.start(now: now)
  }

  // MARK: Before the greeting

  /// True if the connection was reset: no backend is started for it.
  private func isGone(_ connection: borrowing Connection) -> Bool {
    if case .failed = connection.descriptor.peekAtFirstOctet() { true } else { false }
  }

  private func wait(_ connection: consuming Connection, _ variables: [String], now: Int) {
    let wait = GreetingWait(self, connection, variables: variables)
    waits[ObjectIdentifier(wait)] = wait
    countSessions()
    do {
      try wait.begin(now: now)
    } catch {
      acceptWarning.note("\(wait.peer): no session can be started: \(error)", now: now)
      wait.finish(.impossible, now: now)
    }
  }

  /// A wait has ended.
  func finished(_ wait: GreetingWait, _ end: GreetingWait.End, _ connection: consuming Connection, now: Int) {
    guard waits.removeValue(forKey: ObjectIdentifier(wait)) != nil else { return }
    countSessions()
    defer { reconsider() }
    switch end {
    case .over:
      if case .serve = admission.answer { return serve(connection, wait.variables, now: now) }
      addresses.sessionEnded(wait.peer, now: now)
      refuseForLackOfRoom(connection, isImplicit: false, now: now)
    case .early:
      metrics.count(.earlyTalker)
      addresses.penalise(wait.peer, points: Penalty.closed, now: now)
      leftEarly(wait.peer, "early talker", now: now)
      turnAway(connection, ServiceReply.earlyTalker, isImplicit: false, now: now)
    case .gone:
      leftEarly(wait.peer, "client lost", now: now)
    case .stopped:
      leftEarly(wait.peer, "stopped", now: now)
      turnAway(connection, ServiceReply.shuttingDown, isImplicit: false, now: now)
    case .impossible:
      addresses.sessionEnded(wait.peer, now: now)
      refuseForCapacity(connection, isImplicit: false, usingSpare: false, now: now)
    }
  }

  /// An admitted client is not served.
  private func leftEarly(_ peer: SocketAddress, _ end: String, now: Int) {
    addresses.sessionEnded(peer, now: now)
    logSession([
      LogField("peer", .word(SessionLine.peer(peer))), LogField("decision", .word("none")), LogField("end", .text("\(end) before the greeting")),
    ])
  }

  // MARK: Refusing

  /// Accepts a client with the reserved descriptor, because there is no other, and refuses it.
  func refuseForLackOfDescriptors(_ connection: consuming Connection, isImplicit: Bool, now: Int) {
    metrics.count(.connections)
    refuseForCapacity(connection, isImplicit: isImplicit, usingSpare: true, now: now)
  }

  /// Refuses a client because of the limits of all clients.
  private func refuseForCapacity(_ connection: consuming Connection, isImplicit: Bool, usingSpare: Bool, now: Int) {
    metrics.count(.capacity)
    refuse(connection, isImplicit ? "" : ServiceReply.tooManyConnections, usingSpare: usingSpare, now: now)
  }

  /// Refuses a client because of its address or of what it sent. Half of the places are kept for the others.
  private func turnAway(_ connection: consuming Connection, _ text: StaticString, isImplicit: Bool, now: Int) {
    let reply: StaticString = isImplicit ? "" : text
    guard 2 * refusals.count < admission.limits.refusals else {
      connection.descriptor.sendReply(reply)
      return
    }
    refuse(connection, reply, usingSpare: false, now: now)
  }

  private func refuse(_ connection: consuming Connection, _ reply: StaticString, usingSpare: Bool, now: Int) {
    totals.refusals += 1
    let refusal = Refusal(self, connection, reply, usesSpare: usingSpare)
    refusals[ObjectIdentifier(refusal)] = refusal
    admission.refusals = refusals.count
    refusal.begin(now: now)
  }

  func finished(_ refusal: Refusal) {
    guard refusals.removeValue(forKey: ObjectIdentifier(refusal)) != nil else { return }
    admission.refusals = refusals.count
    if refusal.usesSpare { spare.take() }
    reconsider()
  }

  // MARK: Counting

  /// A client that waits for its greeting counts as a session, and so does a connection that waits for its header.
  func countSessions() {
    admission.sessions = sessions.count + waits.count + headers.count
  }
}
