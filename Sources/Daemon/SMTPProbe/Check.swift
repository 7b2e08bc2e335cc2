// Check: one rule for STARTTLS servers, and the script that tries it.
//
// A check is data: a file in Fixtures/checks, which CheckParser reads. Docs/Checking.md describes the format.

/// A rule, why it exists, and the steps that try it.
package struct Check: Hashable, Sendable {
  package enum Group: String, CaseIterable, Sendable {
    case injection, state, failure, order, lines, tls, smuggling
  }

  package enum Severity: String, CaseIterable, Sendable {
    case critical, high, medium, low
  }

  /// What a check needs besides a server.
  package enum Need: String, CaseIterable, Sendable {
    /// The server is the user's own: it is made to accept mail. Also a recipient.
    case own
    /// A user name and a password.
    case credentials
    /// TLSA records.
    case tlsa
  }

  /// `group/name`, after the file.
  package var identifier: String
  package var group: Group
  /// The rule, in one sentence.
  package var rule: String
  /// Where the rule is from: the RFC and its section, or an advisory.
  package var source: String
  package var severity: Severity
  /// The vulnerabilities of other servers that this check would have found.
  package var finds: [String] = []
  /// What other servers do, for an operator who has to judge a deviation.
  package var others = ""
  package var needs: Set<Need> = []
  /// The check is run once with each of these numbers, which `padding` uses; empty: once, without a number.
  package var sweep: [ClosedRange<Int>] = []
  /// How often the check is run, up to the first weakness: more than once if it depends on when the server reads.
  package var repetitions = 1
  package var steps: [Step]

  /// All values of the sweep, in order.
  package var sweepValues: [Int] { sweep.flatMap { Array($0) } }
}

/// What became of a check.
package enum Verdict: String, CaseIterable, Sendable, Comparable {
  /// The rule does not apply to this server, or could not be tried.
  case untested
  case conforms
  /// Allowed, but risky, or wrong without a known attack.
  case deviates
  /// The server has a weakness that can be attacked.
  case vulnerable

  private var rank: Int {
    switch self {
    case .untested: 0
    case .conforms: 1
    case .deviates: 2
    case .vulnerable: 3
    }
  }

  package static func < (left: Verdict, right: Verdict) -> Bool { left.rank < right.rank }
}

/// A verdict and what it rests on.
package struct Finding: Hashable, Sendable {
  package var verdict: Verdict
  package var text: String
  /// The reply or event that decided, escaped; empty if none did.
  package var observed = ""
  /// True if the server does not serve this client at all: no further check makes sense.
  package var stops = false

  package init(_ verdict: Verdict, _ text: String, observed: String = "", stops: Bool = false) {
    self.verdict = verdict
    self.text = text
    self.observed = observed
    self.stops = stops
  }
}

/// A step of a script.
package enum Step: Hashable, Sendable {
  /// Puts octets into the current segment. The next step that does not do so sends it.
  case send(Template)
  /// Puts a ClientHello into the current segment; a following `tls` continues that handshake.
  case hello
  /// Puts NOOP lines into the current segment, so that a STARTTLS line after them ends at the octet that the sweep names.
  case padding
  /// Sends the segment; what follows is another one.
  case flush
  /// Sends the segment and waits a moment, so that what follows is a segment of its own.
  case cut
  /// Ends the sending half of the connection, without close_notify.
  case endSending
  /// Closes the connection and opens another one.
  case reconnect
  /// Begins the handshake.
  case tls(TLSRequest)
  /// Asks about the TLS session.
  case examine(Examination)
  /// Waits for what the first pattern describes, and continues. What another one describes ends the check.
  case expect(Expectation)
  /// Waits for the replies to the lines of `padding`.
  case expectPadding
  /// Ends the check.
  case conclude(Finding)
}

/// How to do a handshake.
package struct TLSRequest: Hashable, Sendable {
  /// Handshake octets are sent in segments of at most this size; 0: whole.
  package var cut = 0
  /// `1.0` to `1.3`; nil: 1.2 and 1.3.
  package var version: String?
  /// A protocol for ALPN; nil: none is offered.
  package var alpn: String?
  /// The server name. nil: the server's own, if it is known.
  package var name: String?
  /// False: no server name is sent.
  package var hasName = true
  /// True: the client offers to resume the session of the connection before, if it had one that can be resumed.
  package var resumes = false

  package init() {}
}

/// What can be asked about an established TLS session.
package enum Examination: String, CaseIterable, Sendable {
  case alpn, renegotiation, dates, name, tlsa, ticket, resumed
}

/// How long to wait.
package enum Patience: Hashable, Sendable {
  /// For a reply.
  case reply
  /// For something that should not come.
  case quiet
  /// For the server to lose patience.
  case stall
}

/// What may happen, and what it means.
package struct Expectation: Hashable, Sendable {
  package var awaited: [Pattern]
  package var patience: Patience
  package var otherwise: [Arm] = []

  package struct Arm: Hashable, Sendable {
    package var patterns: [Pattern]
    package var finding: Finding
  }
}

/// Octets with names in them that stand for values of the run.
package struct Template: Hashable, Sendable {
  package enum Part: Hashable, Sendable {
    case octets([UInt8])
    case name(String)
  }

  package var parts: [Part]

  package init(parts: [Part]) { self.parts = parts }
}
