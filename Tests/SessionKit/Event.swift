// Event: what happens to a session from outside, in an order that a test chooses.
//
// The same events drive the session (Caller.swift) and the rules (Oracle.swift), and are written down in transcripts
// (Transcript.swift).

import PropertyKit
import SMTPState

/// Octets and ends that have arrived by one turn of a caller.
struct Arrival: Equatable {
  var client: [UInt8] = []
  var server: [UInt8] = []
  var clientEnds = false
  var serverEnds = false

  static func client(_ text: String) -> Arrival { Arrival(client: Array(text.utf8)) }
  static func server(_ text: String) -> Arrival { Arrival(server: Array(text.utf8)) }
}

/// The two sides of a dialogue. Which `Party` the server is, its caller knows.
enum Side {
  case client
  case server
}

enum Event: Equatable {
  case arrives(Arrival)
  /// Octets, or the end, of the server that a restart replaced, reported late. Before that server is ended: nothing.
  case late([UInt8], ended: Bool)
  /// The answer to a peek, if peeks are not answered by themselves: what is really there.
  case peekedAsItIs
  /// An answer to a peek that a test made up.
  case peeked(UInt8?, ended: Bool)
  case drained
  case unavailable
  case secured(HandshakeOutcome)
  case restarted(RestartOutcome)
  case expired(Deadline)
}

/// Which answers a test gives itself. All others are given at once, as a caller would.
struct ByHand: Equatable {
  /// `peeked` is an event of the test.
  var peeks = false
  /// `drained` is an event of the test.
  var drains = false
}

/// Something that was done: one command but `keep`, `drop` and `stash`, which is not visible outside, and what it wrote.
struct Deed: Equatable {
  /// The command in words, see `Command.words`; or `copied`, for octets that a relay copied.
  var words: String
  var toClient: [UInt8] = []
  var toServer: [UInt8] = []
  /// How many octets of each side were consumed by then. A stream begins again at the handoff, and with a new server.
  var clientTaken = 0
  var serverTaken = 0
}

extension Deed: CustomStringConvertible {
  var description: String {
    var text = "\(words) [client \(clientTaken), server \(serverTaken)]"
    if !toClient.isEmpty { text += " c: \(Notation.encoded(toClient))" }
    if !toServer.isEmpty { text += " s: \(Notation.encoded(toServer))" }
    return text
  }
}

extension Command {
  /// The command in words; nil for those that only move octets between holds.
  var words: String? {
    switch self {
    case .keep, .drop, .stash: nil
    case .forward(let verb): "forward \(verb)"
    case .pass, .passEarlier: "pass"
    case .reply(let reply): "reply \(reply.code)"
    case .resetServer: "reset server"
    case .peek(let party): "peek \(party)"
    case .endServer: "end server"
    case .restart: "restart"
    case .handoff: "handoff"
    case .abort(let reason): "abort \(reason.name)"
    case .relay: "relay"
    case .close(let reason): "close \(reason.name)"
    }
  }
}

extension Reply {
  /// The code and the enhanced code, which no two replies share; `250 STARTTLS` or `250-STARTTLS` for the keyword.
  var code: String {
    let words = String(decoding: octets.dropLast(2), as: UTF8.self).split(separator: " ")
    return words.prefix(2).joined(separator: " ")
  }
}
