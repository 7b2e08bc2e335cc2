// DifferentialFuzz: the session and the rules side by side, through the scripts of a fuzzer or through the dialogues that
// the generator makes of its octets.
//
// The first octet says which: 0 a script, 1 the generator.

import PropertyKit

public enum DifferentialFuzz {
  /// - Returns: whether the octets spell a dialogue.
  public static func run(_ octets: [UInt8]) throws -> Bool {
    switch octets.first {
    case 0:
      guard let script = Script(Array(octets.dropFirst())) else { return false }
      try play(script)
    case 1:
      let trial = Trial(Choices(octets: Array(octets.dropFirst())))
      do {
        try compareWithOracle(trial)
      } catch let falsified as Falsified {
        throw Falsified(falsified.message + "\n" + trial.transcript())
      }
    default: return false
    }
    return true
  }

  private static func play(_ script: Script) throws {
    var lockstep = Lockstep(script.policy, byHand: script.byHand)
    do {
      for event in script.events { try lockstep.happen(event) }
    } catch let falsified as Falsified {
      throw Falsified(falsified.message + "\n" + lockstep.transcript.text)
    }
  }
}
