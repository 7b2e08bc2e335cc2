// StatusReport: the state of the daemon at one moment, as text for a terminal or as JSON.
//
// At most `limit` sessions are listed, the oldest first, so that a report has a limited size.

import Glibc
import ProgramSupport
import Transport
import TransportTLS

struct StatusReport {
  /// The maximum number of sessions that are listed.
  static let limit = 1_000

  /// A session that runs.
  struct Session {
    let identifier: String
    let peer: String
    let stage: SessionStage
    let ageSeconds: Int
  }

  /// A certificate that is served.
  struct Certificate {
    let path: String
    /// The server names for which it is served.
    let names: [String]
    /// In seconds since 1970.
    let validUntil: Int

    func daysLeft(at now: Int) -> Int { Int((Double(validUntil - now) / 86_400).rounded(.down)) }
  }

  /// The process that holds the private keys.
  struct Keys {
    let process: CInt
    /// False if it does not answer: STARTTLS is refused meanwhile.
    let isAvailable: Bool
    /// True if its system calls are filtered.
    let isConfined: Bool
    /// What signs with RSA keys.
    let rsa: RSALibrary
    let signaturesByLibcrypto: Int
    let signatures: Int
    let signaturesInLastMinute: Int
  }

  /// Processes of the server program that no session uses yet.
  struct Spares {
    let ready: Int
    let wanted: Int
    let taken: Int
    let discarded: Int
  }

  var upSeconds: Int
  var isStopping: Bool
  var addresses: [String]
  /// Those whose clients begin with TLS.
  var implicitAddresses: [String]
  /// All sessions that run.
  var sessions: [Session]
  var sessionsLimit: Int
  var backends: Int
  var backendsLimit: Int
  /// nil without --spare-backends.
  var spares: Spares?
  var totals: Totals
  /// The profile and the groups in force.
  var priorities: TLSPriorities
  var certificates: [Certificate]
  /// Why the files of the certificates are not in use as they are now; nil if they are.
  var certificatesFailure: String?
  /// nil if the keys are in this process.
  var keys: Keys?
  var now = time(nil)

  /// Each file once, with all names for which it is served.
  static func certificates(_ served: [ServedCertificate]) -> [Certificate] {
    var names: [String: [String]] = [:]
    for one in served {
      if names[one.path] == nil { names[one.path] = [] }
      for name in one.serverName.map({ [$0] }) ?? one.names where !names[one.path, default: []].contains(name) {
        names[one.path, default: []].append(name)
      }
    }
    return served.compactMap { one in
      names.removeValue(forKey: one.path).map { Certificate(path: one.path, names: $0, validUntil: one.validUntil) }
    }
  }

  /// The sessions that are listed.
  private var listed: [Session] { Array(sessions.sorted { $0.identifier < $1.identifier }.prefix(StatusReport.limit)) }

  private func count(_ stage: SessionStage) -> Int { sessions.count { $0.stage == stage } }

  private var listeners: [String] { addresses + implicitAddresses.map { "\($0) (TLS from the start)" } }

  /// For a terminal.
  var text: String {
    let stages = SessionStage.allCases.map { "\($0.rawValue) \(count($0))" }.joined(separator: ", ")
    let sums = totals.values.map { "\($0.name) \($0.value)" }.joined(separator: ", ")
    var lines = [
      "starttlsd \(Version.text), process \(getpid()), up \(StatusReport.duration(upSeconds))\(isStopping ? ", stopping" : "")",
      "listening on: \(listeners.isEmpty ? "nothing" : listeners.joined(separator: " "))",
      "sessions: \(sessions.count) of \(sessionsLimit) (\(stages))",
      "backends: \(backends) of \(backendsLimit)",
      "since the start: \(sums)",
      priorities.summary,
    ]
    if let spares {
      lines.insert("spare backends: \(spares.ready) of \(spares.wanted) ready, taken \(spares.taken), given up \(spares.discarded)", at: 4)
    }
    let groups = totals.groupValues.map { "\($0.name) \($0.value)" }
    if !groups.isEmpty { lines.append("TLS sessions by group: \(groups.joined(separator: ", "))") }
    if let keys {
      lines.append(
        """
        private keys: process \(keys.process)\(keys.isAvailable ? "" : ", which does not answer")\(keys.isConfined ? "" : ", system calls not filtered"), signatures \(keys.signatures), \
        \(keys.signaturesInLastMinute) in the last minute
        """)
      lines.append("RSA signatures: by \(keys.rsa.name)\(keys.rsa.isLibcrypto ? ", \(keys.signaturesByLibcrypto)" : "")")
    } else {
      lines.append("private keys: in this process")
    }
    for certificate in certificates {
      lines.append(
        """
        certificate \(certificate.path) for \(certificate.names.joined(separator: ", ")): \(certificate.daysLeft(at: now)) days left, valid until \
        \(LogLine.day(certificate.validUntil))
        """)
    }
    if let certificatesFailure { lines.append("certificates not loaded again: \(certificatesFailure)") }
    for session in listed {
      lines.append(
        "session \(session.identifier) \(session.stage.rawValue) \(StatusReport.duration(session.ageSeconds)) \(session.peer)")
    }
    if sessions.count > StatusReport.limit { lines.append("\(sessions.count - StatusReport.limit) more sessions") }
    return lines.joined(separator: "\n") + "\n"
  }

  /// One object on one line.
  var json: String {
    let stages = SessionStage.allCases.map { (name: $0.rawValue, value: "\(count($0))") }
    let members: [(name: String, value: String)] = [
      ("version", JSONText.string("\(Version.text)")), ("process", "\(getpid())"), ("up", "\(upSeconds)"),
      ("stopping", "\(isStopping)"), ("addresses", JSONText.array(addresses.map(JSONText.string))),
      ("addresses-with-tls", JSONText.array(implicitAddresses.map(JSONText.string))),
      ("sessions", "\(sessions.count)"), ("sessions-limit", "\(sessionsLimit)"), ("phases", JSONText.object(stages)),
      ("backends", "\(backends)"), ("backends-limit", "\(backendsLimit)"),
      ("spare-backends", spares.map(json) ?? "null"),
      ("totals", JSONText.object(totals.values.map { ($0.name, "\($0.value)") })),
      ("tls-profile", JSONText.string("\(priorities.profile)")),
      ("tls-groups", JSONText.array(priorities.groups.map(JSONText.string))),
      ("sessions-by-group", JSONText.object(totals.groupValues.map { ($0.name, "\($0.value)") })),
      ("certificates", JSONText.array(certificates.map(json))),
      ("keys", keys.map(json) ?? "null"),
      ("certificates-failure", certificatesFailure.map(JSONText.string) ?? "null"),
      ("list", JSONText.array(listed.map(json))),
    ]
    return JSONText.object(members) + "\n"
  }

  private func json(_ spares: Spares) -> String {
    JSONText.object([
      ("ready", "\(spares.ready)"), ("wanted", "\(spares.wanted)"), ("taken", "\(spares.taken)"), ("given-up", "\(spares.discarded)"),
    ])
  }

  private func json(_ keys: Keys) -> String {
    JSONText.object([
      ("process", "\(keys.process)"), ("available", "\(keys.isAvailable)"), ("filtered", "\(keys.isConfined)"), ("signatures", "\(keys.signatures)"),
      ("signatures-per-minute", "\(keys.signaturesInLastMinute)"),
      ("rsa-signer", JSONText.string(keys.rsa.name)), ("signatures-by-libcrypto", "\(keys.signaturesByLibcrypto)"),
    ])
  }

  private func json(_ certificate: Certificate) -> String {
    JSONText.object([
      ("file", JSONText.string(certificate.path)), ("names", JSONText.array(certificate.names.map(JSONText.string))), ("valid-until", JSONText.string(LogLine.day(certificate.validUntil))),
      ("days-left", "\(certificate.daysLeft(at: now))"),
    ])
  }

  private func json(_ session: Session) -> String {
    JSONText.object([
      ("id", JSONText.string(session.identifier)), ("peer", JSONText.string(session.peer)),
      ("phase", JSONText.string(session.stage.rawValue)), ("age", "\(session.ageSeconds)"),
    ])
  }

  /// `45s`, `3m`, `2h 5m`, `4d 1h`.
  static func duration(_ seconds: Int) -> String {
    switch seconds {
    case ..<60: "\(seconds)s"
    case ..<3_600: "\(seconds / 60)m"
    case ..<86_400: "\(seconds / 3_600)h \(seconds / 60 % 60)m"
    default: "\(seconds / 86_400)d \(seconds / 3_600 % 24)h"
    }
  }
}
