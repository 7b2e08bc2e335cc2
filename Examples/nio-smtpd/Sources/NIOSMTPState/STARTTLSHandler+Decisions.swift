// What each decision of the conversation does in a pipeline, and the timers.

import NIOCore
import SMTPState

extension STARTTLSHandler {
  /// Carries out all decisions of the last event.
  func carryOutDecisions(_ context: ChannelHandlerContext) {
    while let decision = conversation.nextDecision() {
      switch decision {
      case .peek(let party):
        let (first, hasEnded) = peek(at: party, context)
        conversation.peeked(first, ended: hasEnded)
      case .handoff(let proof): beginTLS(proof, context)
      case .abort(let reason): report(.abandoned(reason))
      case .endServer: endServer(context)
      case .restart:
        startServer(isSecured: true)
        serverParty = .newServer
        conversation.serverRestarted(.greeting)
      case .relay: relay(context)
      case .close(let reason): close(reason, context)
      }
    }
  }

  // MARK: The server

  /// Adds a server after this handler. It greets at once if the channel is active.
  func startServer(isSecured: Bool) {
    guard let context else { return }
    let made = makeServer(isSecured)
    server = made
    // This fails only if this handler is not in the pipeline. Then there is no context.
    try? context.pipeline.syncOperations.addHandler(made, position: .after(self))
  }

  /// Removes the server of the clear phase, and with it all state of that phase.
  private func endServer(_ context: ChannelHandlerContext) {
    if let server { context.pipeline.syncOperations.removeHandler(server, promise: nil) }
    server = nil
    fromServer = Input()
  }

  // MARK: The last decisions

  /// Sends all waiting octets and ends to their receivers, and leaves the pipeline.
  private func relay(_ context: ChannelHandlerContext) {
    state = .relaying
    stopTimers()
    // The client first: the server can reply while it receives octets, and that reply comes after the earlier ones.
    sendToClient(context)
    if fromServer.octets.readableBytes > 0 { context.write(wrapOutboundOut(fromServer.octets), promise: nil) }
    sendToServer(context)
    if fromClient.octets.readableBytes > 0 {
      context.fireChannelRead(wrapInboundOut(fromClient.octets))
      context.fireChannelReadComplete()
    }
    if fromClient.hasEnded { context.fireUserInboundEventTriggered(ChannelEvent.inputClosed) }
    context.flush()
    if fromServer.hasEnded { context.close(promise: nil) }
    // A read may be deferred. The server asks for the next one after it.
    context.read()
    context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
  }

  private func close(_ reason: SMTPSession.Reason, _ context: ChannelHandlerContext) {
    state = .closed
    stopTimers()
    report(.closed(reason))
    fromClient = Input()
    fromServer = Input()
    sendToClient(context)
    context.flush()
    context.close(promise: nil)
  }

  // MARK: Timers

  /// Starts the conversation's timer again if the last event did.
  func startTimer() {
    guard state == .watching, conversation.timerStarts != armedStart else { return }
    armedStart = conversation.timerStarts
    timer?.cancel()
    timer = conversation.deadline.flatMap(schedule)
  }

  func schedule(_ kind: SMTPSession.Deadline) -> Scheduled<Void>? {
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
