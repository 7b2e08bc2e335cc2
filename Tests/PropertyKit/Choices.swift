// Choices: where every random decision of a test comes from. One primitive, `below(n)`; four engines.
//
// A generator asks for numbers and never knows who answers:
// - a seed: a random case;
// - a recorded list: a case again, or a smaller one (see Shrinking.swift);
// - an odometer: all cases, one after the other;
// - octets: a case that a coverage-guided fuzzer thought of.
//
// 0 is always the simplest answer, and the answer when a list or the octets are used up: generators put the dullest
// alternative first, and shrinking does the rest.

/// A source of decisions that keeps a record of them.
package final class Choices {
  private enum Engine {
    case seed(SplitMix)
    case list([Int])
    case octets([UInt8], used: Int)
  }

  private var engine: Engine
  /// The decisions so far; given to `init(replaying:)` they lead to the same case.
  package private(set) var made: [Int] = []
  /// For each of them, how many alternatives there were.
  package private(set) var bounds: [Int] = []

  package init(seed: UInt64) { engine = .seed(SplitMix(state: seed)) }
  package init(replaying list: [Int]) { engine = .list(list) }
  package init(octets: [UInt8]) { engine = .octets(octets, used: 0) }

  /// A number from 0 to `bound - 1`. A bound of 1 or less asks nothing and is not recorded.
  package func below(_ bound: Int) -> Int {
    guard bound > 1 else { return 0 }
    let choice = draw(bound)
    made.append(choice)
    bounds.append(bound)
    return choice
  }

  private func draw(_ bound: Int) -> Int {
    switch engine {
    case .seed(var generator):
      let number = generator.next()
      engine = .seed(generator)
      return Int(number % UInt64(bound))
    case .list(let list):
      return made.count < list.count ? min(max(0, list[made.count]), bound - 1) : 0
    case .octets(let octets, let used):
      // As many octets as the bound needs, so that one mutated octet changes one decision.
      var number = 0
      var position = used
      var reach = 1
      while reach < bound, position < octets.count {
        number = number << 8 | Int(octets[position])
        reach <<= 8
        position += 1
      }
      engine = .octets(octets, used: position)
      return number % bound
    }
  }
}

extension Choices {
  /// One of a list; the first is the simplest.
  package func one<Element>(of list: [Element]) -> Element { list[below(list.count)] }

  /// True in `share` of `all` cases; false is the simplest.
  package func happens(_ share: Int, of all: Int) -> Bool { below(all) >= all - share }

  /// One of a list with weights; the first is the simplest.
  package func weighted<Element>(_ list: [(Int, Element)]) -> Element {
    var number = below(list.reduce(0) { $0 + $1.0 })
    for (weight, element) in list {
      if number < weight { return element }
      number -= weight
    }
    return list[0].1
  }

  /// Up to `most` octets of any value.
  package func octets(upTo most: Int) -> [UInt8] { (0..<below(most + 1)).map { _ in UInt8(below(256)) } }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough to choose test cases.
package struct SplitMix: RandomNumberGenerator {
  private var state: UInt64

  package init(state: UInt64) { self.state = state }

  package mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}

/// All cases of a generator, in the order of an odometer whose last wheel turns fastest.
///
/// A generator must be deterministic and end; every list of choices that it can make comes exactly once.
package struct Odometer {
  private var prefix: [Int]? = []

  /// Runs `body` once for every case; returns how many there were.
  package static func forEach(_ body: (Choices) throws -> Void) rethrows -> Int {
    var odometer = Odometer()
    var cases = 0
    while let prefix = odometer.prefix {
      let choices = Choices(replaying: prefix)
      try body(choices)
      odometer.advance(from: choices)
      cases += 1
    }
    return cases
  }

  private mutating func advance(from choices: Choices) {
    guard let wheel = choices.made.indices.last(where: { choices.made[$0] + 1 < choices.bounds[$0] }) else {
      prefix = nil
      return
    }
    prefix = Array(choices.made[..<wheel]) + [choices.made[wheel] + 1]
  }
}
