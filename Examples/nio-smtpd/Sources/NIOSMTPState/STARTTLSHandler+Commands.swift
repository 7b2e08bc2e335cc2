// What each of the session's commands does in a pipeline, and the session's timers.

import NIOCore
import SMTPState

extension STARTTLSHandler {
  /// Carries a command out, and all that follow from it.
  func carryOut(_ first: SMTPSession.Command, _ context: ChannelHandlerContext) {
    var command = first
    while true {
      switch command {
      case .keep: break
      case .drop(.client): clientHold.clear()
      case .drop(.reply): replyHold.clear()
      case .forward: tellServer(clientHold.takeLine(), context)
      case .pass(let separator): tellClient(replyHold.takeLine(separator), context)
      case .passEarlier(let separator): tellClient(earlierHold.takeLine(separator), context)
      case .stash: swap(&earlierHold, &replyHold)
      case .reply(let reply):
        clientHold.clear()
        tellClient(ByteBuffer(staticString: reply.text), context)
      case .resetServer: tellServer(ByteBuffer(staticString: "RSET\r\n"), context)
      case .endServer: endServer(context)
      case .abort(let reason): report(.abandoned(reason))
      case .handoff(let proof): beginTLS(proof, context)
      case .peek(let party):
        arm()
        command = peek(at: party, context)
        continue
      case .restart:
        arm()
        startServer(isSecured: true)
        serverParty = .newServer
        command = session.serverRestarted(.greeting)
        continue
      case .relay: return relay(context)
      case .close(let reason): return close(reason, context)
      }
      if command.restartsTimer || session.deadline != armed { arm() }
      guard state == .watching, session.interest == .again else { return }
      command = session.nextCommand()
    }
  }

  private func tellServer(_ line: ByteBuffer, _ context: ChannelHandlerContext) {
    context.fireChannelRead(wrapInboundOut(line))
    context.fireChannelReadComplete()
  }

  private func tellClient(_ octets: ByteBuffer, _ context: ChannelHandlerContext) {
    guard session.interest == .drain else { return context.write(wrapOutboundOut(octets), promise: nil) }
    // The 220, the last that is said in clear. When its promise says so, it and all before it is with the kernel.
    let isWritten = context.eventLoop.makePromise(of: Void.self)
    isWritten.futureResult.assumeIsolated().whenSuccess {
      self.isDrained = true
      self.pump()
    }
    context.write(wrapOutboundOut(octets), promise: isWritten)
  }

  // MARK: The server

  /// Adds a server behind this handler. If the channel is active it greets at once.
  func startServer(isSecured: Bool) {
    guard let context else { return }
    let made = makeServer(isSecured)
    server = made
    // It fails only if this handler is not in the pipeline, but then there is no context.
    try? context.pipeline.syncOperations.addHandler(made, position: .after(self))
  }

  /// Nothing of the clear phase survives, since the object that knew it does not.
  private func endServer(_ context: ChannelHandlerContext) {
    if let server { context.pipeline.syncOperations.removeHandler(server, promise: nil) }
    server = nil
    serverEnd = .notYet
    fromServer.clear()
    replyHold.clear()
    earlierHold.clear()
  }

  // MARK: The end of the watch

  /// Gives everything that waits to whom it is for, and leaves.
  private func relay(_ context: ChannelHandlerContext) {
    state = .relaying
    stopTimers()
    for octets in [replyHold, fromServer] where octets.readableBytes > 0 {
      context.write(wrapOutboundOut(octets), promise: nil)
    }
    for octets in [clientHold, fromClient] where octets.readableBytes > 0 {
      context.fireChannelRead(wrapInboundOut(octets))
    }
    context.fireChannelReadComplete()
    if clientEnd != .notYet { context.fireUserInboundEventTriggered(ChannelEvent.inputClosed) }
    context.flush()
    if serverEnd != .notYet { context.close(promise: nil) }
    // The server's own reads may have been kept back; it asks for the next one when this one is done.
    context.read()
    context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
  }

  private func close(_ reason: SMTPSession.Reason, _ context: ChannelHandlerContext) {
    state = .closed
    stopTimers()
    report(.closed(reason))
    fromClient = ByteBuffer()
    fromServer = ByteBuffer()
    context.flush()
    context.close(promise: nil)
  }

  // MARK: Timers

  func startTimers() {
    clearPhaseTimer = schedule(.clearPhase)
    arm()
  }

  /// Starts the session's timer anew.
  private func arm() {
    timer?.cancel()
    armed = session.deadline
    timer = armed.flatMap(schedule)
  }

  private func schedule(_ kind: SMTPSession.Deadline) -> Scheduled<Void>? {
    guard let context else { return nil }
    return context.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(Int64(policy.milliseconds(of: kind)))) {
      self.expired = kind
      self.pump()
    }
  }

  func stopTimers() {
    timer?.cancel()
    clearPhaseTimer?.cancel()
    timer = nil
    clearPhaseTimer = nil
  }
}
