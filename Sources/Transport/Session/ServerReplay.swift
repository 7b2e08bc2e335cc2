// ServerReplay: brings a server that was just started to the point where a learnt one was.
//
// Purpose: the client has read a learnt greeting, and perhaps a learnt reply to its EHLO. The server must send the same octets.
// Contract: it has no I/O. Read `wanted` octets of the server at most, so that what it sends after them stays unread. While
// `toSend` has octets, nothing is read. It is complete when neither is left.
// Failure: `received` returns something else for an octet that is not the learnt one. Nothing that the server sent is shown to anybody.

/// The first dialogue with a server that takes the place of a learnt one.
package struct ServerReplay: Sendable {
  private var greeting: ArraySlice<UInt8>
  private var hello: ArraySlice<UInt8>
  private var line: ArraySlice<UInt8>
  /// True while nothing of the reply that comes next has arrived.
  private var isAtStart = true

  /// What the octets of the server are.
  enum Comparison {
    case same
    /// A reply with a code 4yz, in place of the learnt one: the server cannot serve this client now.
    case temporaryFailure
    case different
  }

  /// - Parameter line: the client's line of EHLO that was answered; without octets if none was.
  init(_ replies: LearntReplies, hello line: [UInt8]) {
    greeting = replies.greeting[...]
    hello = line.isEmpty ? [] : replies.hello[...]
    self.line = line[...]
  }

  /// What the server must be sent now: the client's EHLO after the greeting.
  package var toSend: ArraySlice<UInt8> { greeting.isEmpty ? line : [] }

  /// How many octets of the server are compared next. Its greeting comes before EHLO is sent to it.
  package var wanted: Int { greeting.isEmpty ? line.isEmpty ? hello.count : 0 : greeting.count }

  package var isComplete: Bool { greeting.isEmpty && line.isEmpty && hello.isEmpty }

  /// So many octets of `toSend` were sent.
  package mutating func sent(_ count: Int) { line = line.dropFirst(count) }

  /// The server sent octets, at most `wanted`.
  mutating func received(_ octets: UnsafeRawBufferPointer) -> Comparison {
    guard octets.count <= wanted else { return .different }
    let isGreeting = !greeting.isEmpty
    let expected = isGreeting ? greeting : hello
    guard expected.starts(with: octets) else { return isAtStart && octets.first == UInt8(ascii: "4") ? .temporaryFailure : .different }
    if isGreeting { greeting = greeting.dropFirst(octets.count) } else { hello = hello.dropFirst(octets.count) }
    isAtStart = isGreeting && greeting.isEmpty
    return .same
  }
}
