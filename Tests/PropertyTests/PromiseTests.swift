// The promises, each over random dialogues, realistic and hostile. P8 and P10 to P13 have their tests elsewhere.

import SMTPState
import XCTest
import PropertyKit
import PropertyCases

#if C_INTERFACE
  @testable import CSessionKit
#else
  @testable import SessionKit
#endif

final class PromiseTests: XCTestCase {
  /// P1: every finished session emitted exactly one of handoff and abort, exactly once.
  func testP1OneDecision() {
    holds(cases: 20_000, labels: ["handoff": 0.2, "abort": 0.2]) { trial in
      var play = try Play(trial, afterEach: Promises.atMostOneDecision)
      play.finish()
      trial.show(play.transcript)
      let decision = try Promises.oneDecision(play)
      trial.label(decision == "handoff" ? "handoff" : "abort")
    }
  }

  /// P2: what is consumed never passes an accepted STARTTLS line, nothing is outstanding at a handoff, and no octet sent
  /// in clear is executed inside TLS.
  func testP2NothingCrosses() {
    holds(cases: 20_000, labels: ["handoff": 0.2]) { trial in
      let play = try Play(trial)
      if play.handoff != nil { trial.label("handoff") }
      try Promises.nothingCrosses(play)
    }
  }

  /// P3: after 220 to STARTTLS the next octets to the client are TLS, or the connection closes.
  func testP3The220IsAPromise() {
    holds(cases: 20_000, labels: ["promised": 0.2, "kept": 0.2, "closed": 0.01]) { trial in
      var play = try Play(trial)
      play.finish()
      trial.show(play.transcript)
      guard let promise = play.caller.deeds.firstIndex(where: { $0.words == "reply 220 2.0.0" }) else { return }
      trial.label("promised")
      let isKept = try Promises.silentAfterThe220(play, at: promise)
      trial.label(isKept ? "kept" : "closed")
    }
  }

  /// P4: any cut of the input into spans gives the same commands with the same output.
  func testP4SameOctetsSameVerdict() {
    holds(cases: 15_000, labels: ["phase relaying": 0.05, "phase closed": 0.3]) { trial in
      let play = try Play(trial)
      let cuts: [Cuts] = [
        .everyOctet, .random(SplitMix(state: UInt64(trial.choices.below(1 << 20))), upTo: 5),
        .at(.client, trial.choices.below(60)), .at(.server, trial.choices.below(60)),
      ]
      for cut in cuts { try Promises.sameVerdict(play, cut) }
    }
  }

  /// P5: every command taken up gets exactly one reply, in order; nothing after QUIT is taken up.
  func testP5OneReplyEachInOrder() {
    holds(cases: 10_000, labels: ["quit": 0.3]) { trial in
      // A server that sends the number of the line back; lines that it never sees are answered with a known code.
      let kinds: [(String, own: String?)] = [
        ("NOOP", nil), ("VRFY", nil), ("RSET", nil), ("HELO", nil), ("EHLO", nil), ("RCPT", "503"), ("FOO", "502"),
        ("STARTTLS", "501"), ("AUTH", "538"), ("QUIT x", "501"), (" x", "500"), ("BDAT 0 LAST", "503"),
      ]
      var lines: [String] = []
      var wanted: [String] = []
      for number in 100..<100 + trial.choices.below(9) {
        let (verb, own) = trial.choices.one(of: kinds)
        // A parameter would spoil the chunk's size.
        lines.append(verb.hasPrefix("BDAT") ? "\(verb)\r\n" : "\(verb) \(number)\r\n")
        wanted.append(own ?? "\(number)")
      }
      if trial.choices.below(2) == 1 {
        trial.label("quit")
        lines += ["QUIT\r\n", "NOOP 999\r\n", "MAIL FROM:<999>\r\n"]
        wanted.append("QUIT")
      }
      var caller = Caller(Policy())
      caller.happen(.arrives(.server("220 be\r\n")))
      var answered = 0
      func answer() {
        let forwarded = caller.deeds.filter { $0.words.hasPrefix("forward ") }
        for deed in forwarded[answered...] {
          let words = Latin(deed.toServer).withoutEnd.split { $0 == " " }
          caller.happen(.arrives(.server("250 \(words.last?.string ?? "")\r\n")))
        }
        answered = forwarded.count
      }
      let stream = Array(lines.joined().utf8)
      var sent = 0
      while sent < stream.count {
        let length = 1 + trial.choices.below(60)
        caller.happen(.arrives(Arrival(client: Array(stream[sent...].prefix(length)))))
        sent += length
        if trial.choices.below(2) == 1 { answer() }
      }
      while answered < caller.deeds.filter({ $0.words.hasPrefix("forward ") }).count { answer() }
      let got = Latin(caller.toClient).split { $0 == "\n" }.map(\.string)
        .filter { $0.hasPrefix("250-") || ($0.dropFirst(3).first == " " && !$0.hasPrefix("250 STARTTLS")) }
        .dropFirst().map { $0.hasPrefix("250") ? $0.dropFirst(4).filter { $0 != "\r" } : String($0.prefix(3)) }
      if got != wanted { throw Falsified("sent \(lines)\nwanted \(wanted)\ngot    \(got)") }
    }
  }

  /// P6: after the decisive line nothing is lost, repeated or altered, in either direction.
  func testP6OctetExactRelay() {
    holds(cases: 10_000, labels: ["inside TLS": 0.3, "leftovers": 0.3]) { trial in
      let isInside = trial.choices.below(2) == 1
      var policy = Policy()
      policy.bareLineFeed = .tolerate
      var caller = Caller(policy, cuts: .random(SplitMix(state: UInt64(trial.choices.below(1_000))), upTo: 9))
      caller.happen(.arrives(.server("220 be\r\n")))
      if isInside {
        trial.label("inside TLS")
        for event in [
          Event.arrives(.client("EHLO c\r\n")), .arrives(.server("250 be\r\n")), .arrives(.client("STARTTLS\r\n")),
          .secured(.established), .restarted(.ready),
        ] { caller.happen(event) }
      }
      let decisive = trial.choices.one(of: ["MAIL FROM:<>\r\n", "mail\n", "MAIL\t<>  \r\n"])
      let tail = trial.choices.one(of: [[], Array("QUIT\r\n".utf8), [0x0D], [0x0A, 0x2E, 0x0A]])
      let payload = trial.choices.octets(upTo: 20) + tail
      let answer = trial.choices.octets(upTo: 20)
      let (written, said) = (caller.toServer.count, caller.toClient.count)

      let stream = Array("NOOP\r\n\(decisive)".utf8) + payload
      var sent = 0
      var isAnswered = false
      while sent < stream.count {
        let length = 1 + trial.choices.below(40)
        let piece = Array(stream[sent...].prefix(length))
        sent += piece.count
        caller.happen(.arrives(Arrival(client: piece)))
        if !isAnswered, caller.toServer.count > written {
          if sent > stream.count - payload.count { trial.label("leftovers") }
          isAnswered = true
          caller.happen(.arrives(.server("250 ok\r\n")))
        }
      }
      for start in stride(from: 0, to: answer.count, by: 7) {
        caller.happen(.arrives(Arrival(server: Array(answer[start...].prefix(7)))))
      }
      caller.happen(.arrives(Arrival(clientEnds: true, serverEnds: true)))

      let line = Latin(Array(decisive.utf8)).withoutEnd.octets + [0x0D, 0x0A]
      let wanted = Array("NOOP\r\n".utf8) + line + payload
      let toServer = Array(caller.toServer[written...])
      let toClient = Array(caller.toClient[said...])
      guard caller.session.phase == .relaying else { throw Falsified("no relay: \(caller.session.phase)") }
      if toServer != wanted {
        throw Falsified("to the server: \(Notation.encoded(toServer)), not \(Notation.encoded(wanted))")
      }
      if toClient != Array("250 ok\r\n".utf8) + answer {
        throw Falsified("to the client: \(Notation.encoded(toClient)), not 250 ok and \(Notation.encoded(answer))")
      }
    }
  }

  /// P7, in every state that a dialogue visits: something other than a timer can move it, a timer runs, and an end is near.
  func testP7NoDeadlock() {
    holds(cases: 15_000, labels: ["nothing pending": 0.3, "pending": 0.3]) { trial in
      var play = try Play(trial) { play in
        try Promises.canMove(play)
        let session = play.caller.session
        guard session.phase == .negotiating || session.phase == .secured else { return }
        trial.label(session.deadline == .reply ? "pending" : "nothing pending")
      }
      play.finish()
      trial.show(play.transcript)
      if !play.caller.session.isFinal { throw Falsified("no end in sight: \(play.caller.session.phase)") }
    }
  }

  /// P9: no event and no octet traps, whenever it comes, and in a final phase everything is `keep`.
  func testP9NeverTraps() {
    holds(cases: 30_000, labels: ["final": 0.3]) { trial in
      let choices = trial.choices
      var session = SMTPSession(Dialogue.policy(choices))
      var log: [String] = []
      defer {
        let lines = log
        trial.transcript = { lines.joined(separator: "\n") }
      }
      for _ in 0..<choices.below(60) {
        let before = session
        let (name, consumed, command) = Self.anything(choices, &session)
        log.append("\(name): \(consumed) consumed, \(command)")
        if before.isFinal {
          trial.label("final")
          if command != .keep || consumed != 0 || session != before { throw Falsified("a final phase answered \(command)") }
        }
        if before.interest == .again, name.hasPrefix("octets"), !name.contains("newServer"), command != .keep || consumed != 0 {
          throw Falsified("octets taken in the middle of a chain")
        }
      }
    }
  }

  private static func anything(_ choices: Choices, _ session: inout SMTPSession) -> (String, Int, Command) {
    func octets() -> [UInt8] {
      choices.one(of: [
        Array("220 be\r\n".utf8), Array("250 be\r\n".utf8), Array("EHLO c\r\n".utf8), Array("STARTTLS\r\n".utf8),
        Array("MAIL FROM:<>\r\n".utf8), Array("QUIT\r\n".utf8), Array("NOOP\r\n".utf8), Array("250-x\r\n".utf8),
        Array("BDAT 3\r\nabc".utf8), [], choices.octets(upTo: 5),
      ])
    }
    switch choices.below(14) {
    case 0, 1, 2:
      let given = octets()
      let step = session.receive(given.span, from: .client)
      return ("octets of the client \(Notation.encoded(given))", step.consumed, step.command)
    case 3, 4, 5:
      let given = octets()
      let party = choices.one(of: [Party.server, .server, .newServer])
      let step = session.receive(given.span, from: party)
      return ("octets of the \(party) \(Notation.encoded(given))", step.consumed, step.command)
    case 6, 7: return ("next", 0, session.nextCommand())
    case 8:
      let party = choices.one(of: Party.allCases)
      return ("ended \(party)", 0, session.inputEnded(from: party))
    case 9: return ("drained", 0, session.outputDrained())
    case 10:
      let octet = choices.one(of: [nil, 0x16, UInt8(choices.below(256))])
      return ("peeked \(octet.map(String.init) ?? "nothing")", 0, session.peeked(octet, ended: choices.below(2) == 1))
    case 11: return ("unavailable", 0, session.tlsUnavailable())
    case 12:
      if choices.below(2) == 0 { return ("secured", 0, session.handshakeFinished(choices.one(of: [.established, .failed]))) }
      return ("restarted", 0, session.serverRestarted(choices.one(of: [.greeting, .ready, .failed])))
    default:
      let deadline = choices.one(of: Deadline.allCases)
      return ("expired \(deadline.words)", 0, session.timerExpired(deadline))
    }
  }
}
