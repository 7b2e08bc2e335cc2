// CheckRun: runs one check against the server. One connection is open at a time.
//
// Contract: each wait ends, so the run ends; see SMTPProbe. No connection goes on after the end of the run's time.

import Glibc
import SMTPProbe
import Transport

/// What a run needs to know of the server and the user.
struct Target {
  /// As given by the user.
  var text: String
  /// The first one that answers serves the whole run.
  var addresses: [SocketAddress]
  /// For SNI and the names of the certificate; nil if the user gave an address only.
  var name: String?
  var tlsaRecords: [TLSARecord] = []
  /// The argument of EHLO; nil: the address literal of the client.
  var client: String?
  var values = SMTPProbe.Values()
  var needs: Set<Check.Need> = []
}

/// How long things may take, in milliseconds.
struct Timing {
  var reply = 10_000
  /// For something that should not come.
  var quiet = 300
  /// For the server to lose patience.
  var stall = 10_000
  /// Between two segments.
  var cut = 20
  /// Between two connections.
  var pause = 0
  /// The whole run.
  var run = 3_600_000
}

/// A check and what became of it.
struct Outcome {
  var check: Check
  var finding: Finding
  var transcript: [String] = []
  var milliseconds = 0
}

struct CheckRun {
  private(set) var target: Target
  private let timing: Timing
  /// Every number of a sweep is tried, not only those near usual sizes of buffers.
  private let isThorough: Bool
  private let end: Int
  /// Why no check with a handshake makes sense; nil while handshakes succeed. Without it, a server whose TLS never works, or no
  /// longer, would keep every rule about what must not be executed inside TLS. `stops` is true if the server does not serve this
  /// client.
  private(set) var obstacle: Finding?
  /// True if a check was not tried because of `obstacle`.
  private(set) var hasLeftOut = false
  /// True if the last connection of the last check ended inside TLS.
  private var wasSecured = false

  /// The time of the run begins now.
  init(target: Target, timing: Timing, isThorough: Bool) {
    (self.target, self.timing, self.isThorough) = (target, timing, isThorough)
    end = Clock.now() + timing.run
  }

  /// Tries a handshake, and sets `obstacle` if it fails.
  mutating func control() throws(CheckFailure) {
    let text = "rule TLS can be established.\nsource RFC 3207\nseverity low\n\nopen\nsecure\nconforms It can.\n"
    guard let check = try? CheckParser.parse(text, identifier: "tls/control") else { return }
    let finding = try play(check, padding: 0).0
    if finding.verdict != .conforms { obstacle = finding }
  }

  /// Runs a check, unless something that it needs is missing, or `obstacle` prevents it.
  mutating func run(_ check: Check) throws(CheckFailure) -> Outcome {
    let begin = Clock.now()
    var outcome = Outcome(check: check, finding: Finding(.untested, ""))
    if let missing = Check.Need.allCases.first(where: { check.needs.contains($0) && !target.needs.contains($0) }) {
      outcome.finding.text = missing.text
      return outcome
    }
    if let version = check.versions.first(where: { !ClientTLS.offers($0) }) {
      outcome.finding.text = "GnuTLS on this machine does not have TLS \(version)."
      return outcome
    }
    if let obstacle, check.needsTLS {
      hasLeftOut = true
      outcome.finding = Finding(.untested, obstacle.text, observed: obstacle.observed)
      return outcome
    }
    try runEach(&outcome)
    try confirm(&outcome)
    outcome.milliseconds = Clock.now() - begin
    return outcome
  }

  /// A server that refuses STARTTLS, or fails the handshake, may do so for the octets of the check, or for every client: because of a
  /// limit that this client has reached. Then nothing was tried.
  private mutating func confirm(_ outcome: inout Outcome) throws(CheckFailure) {
    let finding = outcome.finding
    guard outcome.check.needsTLS, !wasSecured, finding.verdict != .vulnerable, !finding.stops else { return }
    try control()
    guard let obstacle else { return }
    hasLeftOut = true
    let observed = [finding.observed, "then, to a client that does nothing else: \(obstacle.observed)"]
    outcome.finding = Finding(
      .untested, "TLS cannot be established any more.", observed: observed.filter { !$0.isEmpty }.joined(separator: "; "),
      stops: obstacle.stops)
  }

  /// Runs a check as often as it wants, with each number of its sweep, up to the first weakness.
  private mutating func runEach(_ outcome: inout Outcome) throws(CheckFailure) {
    let check = outcome.check
    var untested: Finding?
    var worst: Finding?
    for number in numbers(check) {
      var (finding, transcript) = try play(check, padding: number)
      if finding.stops {
        outcome.finding = finding
        return
      }
      if finding.verdict == .untested {
        untested = untested ?? finding
        continue
      }
      guard worst.map({ finding.verdict > $0.verdict }) ?? true else { continue }
      if finding.verdict > .conforms, number > 0 {
        finding.observed += "\(finding.observed.isEmpty ? "" : "; ")the STARTTLS line ended at octet \(number) of its segment"
      }
      (worst, outcome.transcript) = (finding, transcript)
      if finding.verdict == .vulnerable { break }
    }
    // A rule that was not tried everywhere does not count as kept.
    if let untested, worst.map({ $0.verdict == .conforms }) ?? true { worst = untested }
    outcome.finding = worst ?? outcome.finding
  }

  /// The numbers for `padding`: one for each time that the check is run.
  private func numbers(_ check: Check) -> [Int] {
    guard let first = check.sweepValues.min(), let last = check.sweepValues.max() else {
      return Array(repeating: 0, count: check.repetitions)
    }
    return isThorough ? Array(first...last) : check.sweepValues
  }

  private mutating func play(_ check: Check, padding: Int) throws(CheckFailure) -> (Finding, [String]) {
    var values = target.values
    values.padding = padding
    var connection = try Connection(target.addresses, timeoutMilliseconds: timing.reply, end)
    target.addresses = [connection.address]
    defer { rest() }
    if let client = target.client ?? connection.addressLiteral { values.client = client }
    var probe = SMTPProbe(check, values)
    var isFirst = true
    // The session of the connection before, for one that resumes it.
    var earlier: [UInt8]?
    var waiting: (step: Int, deadline: Int)?
    while true {
      guard Clock.now() < end else {
        throw CheckFailure("the run has reached its limit, \(timing.run / 1000) s (--limit)", ExitCode.incomplete)
      }
      let command = probe.next()
      let sending = min(Clock.now() + timing.reply, end)
      switch command {
      case .connect:
        guard !isFirst else {
          isFirst = false
          continue
        }
        earlier = connection.established?.resumption
        connection.close()
        rest()
        connection = try Connection(target.addresses, timeoutMilliseconds: timing.reply, end)
      case .send(let octets): connection.send(octets, sending)
      case .pause: usleep(UInt32(timing.cut) * 1000)
      case .endSending: connection.endSending()
      case .prepareHello(let request): 
        probe.prepared(try connection.prepareHello(request, name: name(request), resuming: request.resumes ? earlier : nil))
      case .startTLS(let request, let received):
        try connection.startTLS(
          request, name: name(request), resuming: request.resumes ? earlier : nil, received: received, sending)
      case .examine(let examination):
        let (word, text) = examine(examination, connection)
        probe.examined(word, text)
      case .await(let patience, let step):
        let known = waiting.flatMap { $0.step == step ? $0.deadline : nil }
        // Octets that always wait to be read do not extend the time.
        if let known, Clock.now() >= known {
          probe.expired()
          continue
        }
        let deadline = known ?? min(Clock.now() + milliseconds(patience), end)
        waiting = (step, deadline)
        switch connection.next(deadline) {
        case .octets(let octets): probe.receive(octets)
        case .ended: probe.ended()
        case .expired: probe.expired()
        case .established: probe.established()
        case .refused(let why): probe.handshakeRefused(why)
        case .failed(let why): probe.handshakeFailed(why)
        case .clear(let octets): probe.receivedClear(octets)
        }
      case .finish(let finding):
        wasSecured = connection.established != nil
        connection.close()
        return (finding, probe.transcript.lines)
      }
    }
  }

  /// The pause between two connections.
  private func rest() {
    if timing.pause > 0 { usleep(UInt32(timing.pause) * 1000) }
  }

  private func milliseconds(_ patience: Patience) -> Int {
    switch patience {
    case .reply: timing.reply
    case .quiet: timing.quiet
    case .stall: timing.stall
    }
  }

  private func name(_ request: TLSRequest) -> String? {
    request.hasName ? request.name ?? target.name : nil
  }

  /// A word for the script, and a text for people.
  private func examine(_ examination: Examination, _ connection: Connection) -> (String, String) {
    guard let tls = connection.established else { return ("none", "there is no TLS session") }
    switch examination {
    case .alpn: return (tls.alpn ?? "none", "the protocol selected by ALPN: \(tls.alpn ?? "none")")
    case .renegotiation:
      let answer = connection.renegotiate(min(Clock.now() + timing.reply, end))
      return (answer, "renegotiation by the client: \(answer)")
    case .ticket: return (tls.ticket, "the session can be resumed with: \(tls.ticket)")
    case .resumed: return (tls.isResumed ? "yes" : "no", "the session is \(tls.isResumed ? "" : "not ")resumed")
    case .dates, .name, .tlsa: break
    }
    guard let certificate = ServerCertificate(tls.session) else { return ("none", "the server sends no certificate that can be parsed") }
    switch examination {
    case .name: return target.name.map { certificate.name($0) } ?? ("unknown", "no host name is known: use --name")
    case .tlsa: return certificate.tlsa(target.tlsaRecords)
    default: return certificate.dates(now: time(nil))
    }
  }
}

extension Check {
  private var handshakes: [TLSRequest] {
    steps.compactMap { if case .tls(let request) = $0 { request } else { nil } }
  }

  /// True if the script has a handshake.
  fileprivate var needsTLS: Bool { !handshakes.isEmpty }

  /// The versions of TLS that the script names.
  fileprivate var versions: [String] { handshakes.compactMap(\.version) }
}

extension Check.Need {
  /// Why a check was not run.
  var text: String {
    switch self {
    case .own: "Only with --i-own-this-server and --recipient: the server accepts a message."
    case .credentials: "Only with --user and --password-file."
    case .tlsa: "Only with --tlsa."
    }
  }
}
