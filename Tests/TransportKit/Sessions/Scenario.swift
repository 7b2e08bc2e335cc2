// Scenario: one whole session as a script for both sides, and what it comes to when no call fails.

import SMTPState
import Transport

/// What a session is to be played with.
struct Scenario {
  var name: String
  var policy = Policy()
  var host = HostKind.helper
  var medium = Medium.socketPair
  /// Whether a careless parent has left O_NONBLOCK on the client's socket.
  var startsNonBlocking = false
  var client: [ClientStep]
  /// One for each server that is started, the last one for all further.
  var servers = [ServerManners()]
  /// Whether the session begins with what was learnt of the server, which is then started when it is needed.
  var isLearnt = false
  /// Whether the client is a front that checks whether the server is up.
  var isHealthCheck = false
  var helper = HelperManners.ordinary
  var channels = Channels.separate
  /// How many octets the client and the servers write at a time.
  var clientCut = Int.max
  var serverCut = Int.max
  /// The size that the sockets' buffers are brought to; nil: as the kernel makes them.
  var bufferOctets: CInt?
  /// What happens once nothing moves any more.
  var departure: Departure?

  /// What the session comes to when no call fails.
  var decision: SessionRecord.Decision? = nil
  var end: SessionRecord.End? = nil

  /// Where TLS comes from, and which program's host is played.
  enum HostKind: Equatable {
    /// A UCSPI-TLS helper gets the client's connection, as in starttls-proxy.
    case helper
    /// The engine is in the process, as in starttlsd.
    case engine
  }

  /// What a helper's channels are.
  enum Channels: Equatable {
    /// A control socket and two pipes.
    case separate
    /// The same, and the control socket stays open: as under ucspi-ssl.
    case kept
    /// One socket for all.
    case shared
  }

  /// What the client's connection is.
  enum Medium: Equatable {
    case socketPair
    case tcp
    /// Two pipes: standard input and output.
    case pipes
  }
}

/// What a client does next. A step begins once all replies to earlier ones have come.
enum ClientStep: Equatable {
  /// Sends text, and the number of replies to it.
  case say(String, replies: Int = 1)
  /// Says text at once, without waiting for replies.
  case hurry(String, replies: Int = 1)
  /// STARTTLS and the handshake. Refused, the client sends QUIT and nothing else.
  case starttls
  /// STARTTLS with so much more in the same segment, and no handshake.
  case starttlsAnd(String)
  /// STARTTLS, and no TLS after the 220, but this.
  case starttlsThen(String)
  /// Ends the sending half; inside the engine's TLS with a close_notify.
  case end
  /// Reads nothing from here on.
  case stopReading
  /// Closes the connection without reading.
  case close
  /// Closes the connection at once, without waiting for replies or for TLS.
  case vanish
  /// Resets the connection.
  case reset
}

/// Who leaves a session that stands still.
enum Departure: Hashable, CaseIterable {
  case clientResets, clientCloses
  /// The client ends its half and stays, without reading.
  case clientEnds
  case serverCloses, serverEnds, serverStopsReading
  case helperDies
}

/// How a server speaks.
struct ServerManners: Equatable {
  var greeting: String? = "220"
  /// What it does at a command, counted from 0, in place of answering it.
  var deviation: (command: Int, Deviation)?
  /// Whether it reads nothing while a reply of its own is not written, as most servers do.
  var isBlocking = false
  /// Whether its reply to QUIT has no mark, so that it is the same at any time.
  var hasFixedQuit = false
  /// Octets that every reply has in addition.
  var padding = 0

  enum Deviation: Equatable {
    /// Closes the connection.
    case close
    /// Says the first line of a reply that has more, and closes.
    case closeInReply
    /// Says 421 and closes.
    case refuse
    /// Says 421 in two lines and closes.
    case refuseInTwoLines
    /// Answers with this code.
    case answer(String)
    /// Answers with these octets.
    case say(String)
    /// Sends nothing any more.
    case silence
    /// Reads nothing any more.
    case deafness
    /// Answers, and then sends an unsolicited reply.
    case chatter
    /// Answers and closes.
    case answerAndClose
  }

  static func == (one: ServerManners, other: ServerManners) -> Bool {
    one.greeting == other.greeting && one.deviation?.command == other.deviation?.command
      && one.deviation?.1 == other.deviation?.1
  }

  static func at(_ command: Int, _ deviation: Deviation) -> ServerManners {
    ServerManners(deviation: (command, deviation))
  }
}

/// What a UCSPI-TLS helper does.
enum HelperManners: Equatable {
  case ordinary
  /// Ends before it received anything.
  case gone
  /// Takes the command and ends without a report.
  case fails
  /// Reads the command and sends nothing.
  case mute
  /// Reports nonsense.
  case babbles
}
