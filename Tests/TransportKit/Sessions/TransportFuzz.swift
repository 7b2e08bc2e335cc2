// TransportFuzz: sessions that a fuzzer thinks of, on a kernel that it plays.
//
// The choices say what both sides do, in what pieces, and the result of each call of the driver. What is true of
// every session is checked, see SessionRig.swift and DialogueChecks.swift; there is nothing to compare with. TLS is the
// scripted helper's: cryptography would cost several times as much, and would be different each time.
//
// Knows no test framework.

import PropertyKit
import Glibc
import SMTPState
import Transport

public enum TransportFuzz {
  /// Plays the session that the octets choose.
  /// - Returns: true; there are no octets that choose none.
  public static func run(_ octets: [UInt8]) throws -> Bool {
    let trial = Trial(Choices(octets: octets))
    do {
      try playChosenSession(trial)
    } catch let falsified as Falsified {
      throw Falsified("\(falsified.message)\n\(trial.transcript())")
    }
    return true
  }
}

/// Plays the session that the choices of a trial lead to.
func playChosenSession(_ trial: Trial) throws {
  let scenario = SessionChoices.scenario(trial.choices)
  var faults: [(position: Int, call: Kernel.Call, fault: Kernel.Fault)] = []
  var answers = AnswerChoices(trial.choices)
  trial.transcript = {
    "\(scenario)\nfaults: " + faults.map { "\($0.position) \($0.call.rawValue) \($0.fault)" }.joined(separator: ", ")
  }
  let (outcome, _) = try SessionRig.run(scenario) { call, position in
    let fault = answers.next(call)
    if let fault { faults.append((position, call, fault)) }
    return fault
  }
  try outcome.check(scenario)
  label(trial, outcome, isFaulted: !faults.isEmpty)
}

/// What a session reached.
private func label(_ trial: Trial, _ outcome: SessionOutcome, isFaulted: Bool) {
  trial.label(isFaulted ? "with faults" : "without a fault")
  if outcome.handoffs > 0 { trial.label("handoff") }
  if outcome.isSecure { trial.label("TLS") }
  if outcome.servers.count > 1 { trial.label("restarted") }
  if outcome.secure.count > 100 { trial.label("dialogue inside TLS") }
  switch outcome.record?.end {
  case .closed(let reason)?: trial.label("closed: \(reason.name)")
  case .relayed?: trial.label("relayed")
  case .relayIdle?: trial.label("relay idle")
  case .sessionTimeout?: trial.label("session timeout")
  case .clientLost?: trial.label("client lost")
  case .outputStalled?: trial.label("output stalled")
  case .earlyTalker?: trial.label("early talker")
  case .stopped?: trial.label("stopped")
  case nil: trial.label("not started")
  }
}

/// What each call comes to, as choices say.
struct AnswerChoices {
  private let choices: Choices
  /// How often a call meets a fault: never, seldom, often.
  private let share: Int
  private var interruptions = 0
  /// What every call meets from here on.
  private var lasting: Kernel.Fault?

  private static let errors = [EAGAIN, ECONNRESET, EPIPE, ENOMEM, EMFILE]

  init(_ choices: Choices) {
    self.choices = choices
    share = choices.one(of: [0, 2, 12, 64])
  }

  mutating func next(_ call: Kernel.Call) -> Kernel.Fault? {
    if let lasting { return lasting }
    guard share > 0, choices.happens(share, of: 256) else {
      interruptions = 0
      return nil
    }
    let fault: Kernel.Fault
    switch choices.below(8) {
    case 0: fault = .short(1)
    case 1: fault = .short(1 + choices.below(64))
    case 2, 3: fault = .error(EAGAIN)
    case 4:
      // The kernel is asked again at once: it must not go on for ever.
      interruptions += 1
      fault = .error(interruptions > 3 ? EAGAIN : EINTR)
    case 5:
      fault = .short(1)
      lasting = fault
    case 6: fault = .error(choices.one(of: AnswerChoices.errors))
    default:
      fault = .error(choices.one(of: AnswerChoices.errors))
      if choices.below(4) == 0 { lasting = fault }
    }
    return fault
  }
}
