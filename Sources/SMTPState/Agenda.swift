// Agenda: the effects of a transition that the caller has not fetched yet.
//
// Purpose: a transition puts a *set* of effects here. They are carried out one by one, in the order of the cases of `Effect`.
// Contract: this one order is correct for every transition, so no transition states a sequence. A transition starts with
// an empty agenda or replaces it. Only `tlsUnavailable` changes one that is not empty.
// Failure: none. An effect that is inserted twice is carried out once.

/// One effect. The order of the cases is the order of execution.
///
/// Why each case comes before the next one. "Never together" means that no transition issues both, so that their order has no
/// effect; the column then says what separates them.
///
/// | effect        | before        | because                                                                                  |
/// |---------------|---------------|------------------------------------------------------------------------------------------|
/// | `abort`       | `endServer`   | never together: `endServer` belongs to a handoff, which `abort` excludes                 |
/// | `endServer`   | `handoff`     | when TLS begins, no octet of the old server may be left to arrive                        |
/// | `handoff`     | `passEarlier` | never together: at a handoff no reply is outstanding and no line is held                 |
/// | `passEarlier` | `list`        | STARTTLS is listed after the first line, which is the earlier one                        |
/// | `list`        | `stash`       | the stashed line follows STARTTLS in the reply; it is sent by a later `passEarlier`      |
/// | `stash`       | `pass`        | never together: a line is held if another follows, or passed if it is the last           |
/// | `pass`        | `dropReply`   | never together: a line is either kept or taken out                                       |
/// | `dropReply`   | `forward`     | never together: one is caused by a server's line, the other by a client's                |
/// | `forward`     | `reply`       | never together: a client's line is forwarded or answered                                 |
/// | `reply`       | `resetServer` | never together: RSET is sent in the course of STARTTLS, before any answer to it          |
/// | `resetServer` | `peek`        | never together: the peek after RSET waits for the answer to RSET                         |
/// | `peek`        | `restart`     | never together: peeks precede TLS, a restart follows it                                  |
/// | `restart`     | `settle`      | never together: the client is not read until the new server is ready                     |
/// | `settle`      | `relay`       | never together: `settle` is alone on the agenda, and its transition may then issue relay |
/// | `relay`       | `close`       | never together: both are final                                                           |
///
/// Four orders between cases that are not neighbours matter too:
///
/// - `abort` comes before `pass`, `forward`, `reply`, `relay` and `close`: the TLS helper is notified before anything is sent
///   that depends on the decision.
/// - `passEarlier` comes before `stash`, `pass` and `dropReply`: the earlier line arrived first, and `stash` needs an empty hold.
/// - `pass` and `passEarlier` come before `reply`: what the server has sent precedes the session's own line or reply.
/// - `handoff`, `peek`, `restart`, `relay` and `close` come last in each set that they are part of: the first three are answered,
///   and an answer is accepted only while the agenda is empty; nothing may follow the other two.
enum Effect: UInt8 {
  /// Send the TLS helper away.
  case abort
  /// Close the connection to the old server.
  case endServer
  /// Start TLS.
  case handoff
  /// Send the line in the hold `earlier` to the client.
  case passEarlier
  /// Send `250-STARTTLS`, after the first line of a reply to EHLO.
  case list
  /// Move the server's line to the hold `earlier`.
  case stash
  /// Send the server's line to the client.
  case pass
  /// Discard the server's line.
  case dropReply
  /// Send the client's line to the server.
  case forward
  /// Send one of the session's own replies to the client.
  case reply
  /// Send RSET to the server.
  case resetServer
  /// Look at a party's next octet without consuming it.
  case peek
  /// Start a new server.
  case restart
  /// Pseudo-effect: process the deferred command, or the client's end, now. It never becomes a command.
  case settle
  /// Copy octets both ways from now on.
  case relay
  /// Close the session.
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

  /// Removes and returns the first effect; nil if there is none.
  mutating func takeFirst() -> Effect? {
    guard let first = Effect(rawValue: UInt8(truncatingIfNeeded: bits.trailingZeroBitCount)) else { return nil }
    remove(first)
    return first
  }
}

#if !hasFeature(Embedded)
  extension Agenda: Hashable {}
#endif
