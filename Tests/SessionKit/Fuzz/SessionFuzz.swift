// SessionFuzz: a session through whatever a fuzzer makes of a script, with the promises P1 to P9 as far as a play shows
// them without knowing the rules; DifferentialFuzz knows them.
//
// With 32 in the first octet the events come to the session as they stand, from a caller that cares for nothing: all that
// is sent at once, in the middle of chains, after the end. There `peeked` asks for the next command. Only P9 can be kept.

import PropertyKit
import SMTPState

public enum SessionFuzz {
  /// Plays a script and looks at every promise.
  /// - Returns: whether the octets spell a script.
  public static func run(_ octets: [UInt8]) throws -> Bool {
    guard let first = octets.first, let script = Script([first & ~carelessness] + octets.dropFirst()) else { return false }
    if first & carelessness == 0 { try play(script) } else { try playCarelessly(script) }
    return true
  }

  private static let carelessness: UInt8 = 32

  static func play(_ script: Script) throws {
    do {
      var isOver = false
      var deeds = 0
      var play = try Play(script) { play in
        try peek(at: play)
        if isOver, play.caller.session.phase != .relaying, play.caller.deeds.count > deeds {
          throw Falsified("P9: a closed session does \(play.caller.deeds[deeds...])")
        }
        isOver = play.caller.session.isFinal
        deeds = play.caller.deeds.count
      }
      try Promises.nothingCrosses(play)
      try Promises.oneReplyEach(play)
      try Promises.exactRelay(play)
      if let promise = play.caller.deeds.firstIndex(where: { $0.words == "reply 220 2.0.0" }) {
        _ = try Promises.silentAfterThe220(play, at: promise)
      }
      if let handoff = play.handoff { try Promises.handoffAfterThe220(play, at: handoff) }
      for cut in [Cuts.everyOctet, .random(SplitMix(state: 1), upTo: 5)] { try Promises.sameVerdict(play, cut) }
      play.finish()
      try peek(at: play)
      _ = try Promises.oneDecision(play)
    } catch let falsified as Falsified {
      let text = (try? Play(script))?.transcript.text ?? ""
      throw Falsified(falsified.message + "\n" + text)
    }
  }

  private static func playCarelessly(_ script: Script) throws {
    var session = SMTPSession(script.policy)
    var server = Party.server
    for event in script.events {
      let before = session
      let commands = happen(event, server, &session)
      if case .restarted(let outcome) = event, before.phase == .restarting, outcome != .failed { server = .newServer }
      if before.isFinal, session != before || commands.contains(where: { $0 != .keep }) {
        throw Falsified("P9: \(event) changes what is final: \(commands)")
      }
      if !session.isFinal, session.interest == .again, session.deadline != nil {
        throw Falsified("P9: a timer runs in the middle of a chain")
      }
    }
  }

  /// Lets something happen, wanted or not.
  private static func happen(_ event: Event, _ server: Party, _ session: inout SMTPSession) -> [Command] {
    switch event {
    case .arrives(let arrival):
      var commands: [Command] = []
      for (party, octets, ends) in [
        (server, arrival.server, arrival.serverEnds), (.client, arrival.client, arrival.clientEnds),
      ] {
        commands.append(session.receive(octets.span, from: party).command)
        if ends { commands.append(session.inputEnded(from: party)) }
      }
      return commands
    case .late(let octets, let ended):
      // The server of the wrong name.
      let other = server == .server ? Party.newServer : .server
      return [session.receive(octets.span, from: other).command] + (ended ? [session.inputEnded(from: other)] : [])
    case .peekedAsItIs: return [session.nextCommand()]
    case .peeked(let octet, let ended): return [session.peeked(octet, ended: ended)]
    case .drained: return [session.outputDrained()]
    case .unavailable: return [session.tlsUnavailable()]
    case .secured(let outcome): return [session.handshakeFinished(outcome)]
    case .restarted(let outcome): return [session.serverRestarted(outcome)]
    case .expired(let deadline): return [session.timerExpired(deadline)]
    }
  }

  private static func peek(at play: Play) throws {
    // P8 is among them: what is held stays within the policy's bounds.
    if let violation = play.caller.violations.first { throw Falsified(violation) }
    try Promises.atMostOneDecision(play)
    try Promises.canMove(play)
  }
}
