// Agenda: the effects that a transition led to and that the caller has not fetched yet.
//
// A transition puts a *set* of effects here; they are carried out one by one in the one order of `Effect`. That order
// is right for every transition, so none has to spell out a sequence: an abort comes before whatever is said or
// forwarded, what a server sent comes before what we say, and an end comes last.

/// One effect, in the order of execution.
enum Effect: UInt8 {
  case abort
  case endServer
  case handoff
  case passEarlier
  /// `250-STARTTLS`, after the first line of a reply to EHLO.
  case list
  case stash
  case pass
  case dropReply
  case forward
  case reply
  case resetServer
  case peek
  case restart
  /// Not an effect but a duty: the turn of the waiting command, or of the client's end, has come.
  case settle
  case relay
  case close
}

/// A set of effects.
struct Agenda: Equatable, Sendable {
  private var bits: UInt16 = 0

  init() {}

  init(_ first: Effect, _ second: Effect? = nil, _ third: Effect? = nil) {
    insert(first)
    if let second { insert(second) }
    if let third { insert(third) }
  }

  var isEmpty: Bool { bits == 0 }

  mutating func insert(_ effect: Effect) { bits |= 1 << UInt16(effect.rawValue) }
  mutating func remove(_ effect: Effect) { bits &= ~(1 << UInt16(effect.rawValue)) }

  /// Takes the first effect out; nil when there is none.
  mutating func takeFirst() -> Effect? {
    guard let first = Effect(rawValue: UInt8(truncatingIfNeeded: bits.trailingZeroBitCount)) else { return nil }
    remove(first)
    return first
  }
}

#if !hasFeature(Embedded)
  extension Agenda: Hashable {}
#endif
