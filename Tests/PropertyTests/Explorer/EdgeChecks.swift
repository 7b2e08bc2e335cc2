// EdgeChecks: the promises as far as one edge can show them. Each returns what is broken, or nil. P5 is in
// EdgeChecks+Order.swift. P4 is CutLemmaTests', P6 and P10 to P12 are not about one edge of a session.

@testable import SMTPState
@testable import SessionKit

enum EdgeChecks {
  /// Everything that must hold on an edge.
  static func broken(_ from: SMTPSession, _ event: SessionEvent, _ command: Command, _ to: SMTPSession) -> String? {
    oneDecision(from, command, to) ?? nothingCrosses(from, command) ?? promiseKept(from, command, to)
      ?? oneReplyEach(from, event, command, to) ?? oneServer(from, event, command, to) ?? neverStuck(to) ?? finalStays(from, command, to) ?? small(to)
  }

  /// P1. One decision, and none without its end: by induction over the edges.
  private static func oneDecision(_ from: SMTPSession, _ command: Command, _ to: SMTPSession) -> String? {
    switch command {
    case .handoff, .abort:
      if from.isDecided { return "P1: a second decision" }
      if !to.isDecided { return "P1: a decision that is not remembered" }
    case .relay, .close:
      if !to.isDecided { return "P1: an end without a decision" }
    default:
      if from.isDecided != to.isDecided { return "P1: a decision without a command" }
    }
    return nil
  }

  /// P2. A handoff with nothing outstanding, nothing waiting, and both scanners at a line's start.
  private static func nothingCrosses(_ from: SMTPSession, _ command: Command) -> String? {
    guard case .handoff = command else { return nil }
    guard from.outstanding == 0, from.waiting == nil, from.client == CommandScanner() else {
      return "P2: a handoff with something left over"
    }
    return nil
  }

  /// P3. After the 220 nothing is sent until TLS is established.
  private static func promiseKept(_ from: SMTPSession, _ command: Command, _ to: SMTPSession) -> String? {
    guard from.phase == .promised || from.phase == .handshaking else { return nil }
    switch command {
    case .reply(.readyForTLS): return from.phase == .promised ? nil : "P3: a second 220"
    case .reply, .pass, .passEarlier, .forward, .resetServer, .relay: return "P3: \(command) after the 220"
    default: return nil
    }
  }

  /// P2. A server that was replaced changes nothing; to name a new one before there is one is misuse. There is a new one
  /// only after a restart, and the session does not go on in clear with a server that has ended.
  private static func oneServer(_ from: SMTPSession, _ event: SessionEvent, _ command: Command, _ to: SMTPSession) -> String? {
    switch event {
    case .octetOfOther, .otherEnded:
      if from.hasNewServer {
        return command == .keep && from == to ? nil : "P2: \(command) because of a server that was replaced"
      }
      return to.phase == .closed && (to.reason == .misuse || from.phase == .closed) || from == to && from.isFinal
        ? nil : "P9: a server that is not there yet"
    case .next, .octet, .ended, .drained, .peeked, .unavailable, .secured, .restarted, .expired: break
    }
    if to.hasNewServer && !from.hasNewServer && from.phase != .restarting { return "P2: a new server without a restart" }
    if to.serverEnded && to.phase != .peekingAtClient { return "P7: on with a server that has ended" }
    return nil
  }

  /// P7. Something other than a timer can move every state that is not final, and a timer runs.
  private static func neverStuck(_ state: SMTPSession) -> String? {
    if state.isFinal || state.interest == .again { return nil }
    if state.deadline == nil { return "P7: no timer in \(state.phase)" }
    switch state.interest {
    case .again: return nil
    case .both: return nil
    case .server:
      if state.outstanding > 0 || state.waiting != nil || state.isUnasked { return nil }
      return "P7: no interest in the client in \(state.phase)"
    case .drain: return state.phase == .promised ? nil : "P7: drain in \(state.phase)"
    case .nothing:
      switch state.phase {
      case .peekingBeforeReset, .peekingAtServer, .peekingAtClient, .handshaking, .restarting: return nil
      default: return "P7: no interest in \(state.phase)"
      }
    }
  }

  /// P7. A final state can be reached from every other: its timer leads there. For each state, not for each edge.
  static func withoutEnd(_ state: SMTPSession) -> String? {
    var session = state
    while session.interest == .again { _ = session.nextCommand() }
    if let timer = session.deadline { _ = session.timerExpired(timer) }
    while session.interest == .again { _ = session.nextCommand() }
    return session.isFinal ? nil : "P7: in \(state.phase) the timer does not end the session"
  }

  /// A final state remains, and issues no command.
  private static func finalStays(_ from: SMTPSession, _ command: Command, _ to: SMTPSession) -> String? {
    guard from.isFinal else { return nil }
    return command == .keep && from == to ? nil : "P9: \(command) in a final state"
  }

  /// P8. The counters stay within the policy's bounds.
  private static func small(_ state: SMTPSession) -> String? {
    if state.outstanding > max(state.limits.outstanding, 1) { return "P8: outstanding over its limit" }
    if state.junk > state.limits.junk || state.commands > state.limits.commands { return "P8: a counter over its limit" }
    return nil
  }
}
