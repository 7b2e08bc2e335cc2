// The session and the oracle side by side: the same dialogue, the same deeds, the same octets, the same interest.

import SMTPState
import XCTest
import PropertyKit
import PropertyCases

#if C_INTERFACE
  @testable import CSessionKit
#else
  @testable import SessionKit
#endif

final class DifferentialTests: XCTestCase {
  func testTheSessionDoesWhatTheRulesSay() {
    holds(cases: 60_000, labels: Self.labels) { trial in try compareWithOracle(trial) }
  }

  /// The same generator fed with octets, as a fuzzer does.
  func testTheSessionDoesWhatTheRulesSayFromOctets() {
    holds(cases: 3_000, labels: ["handoff": 0.05]) { trial in
      let octets = (0..<trial.choices.below(400)).map { _ in UInt8(trial.choices.below(256)) }
      let inner = Trial(Choices(octets: octets))
      defer {
        trial.transcript = inner.transcript
        inner.labels.forEach { trial.label($0) }
      }
      try compareWithOracle(inner)
    }
  }

  /// Every line of few octets, from those that mean something, after the beginnings of verbs.
  func testEveryShortLineOfAClient() {
    let beginnings = [("BDA", "T"), ("QUI", "T"), ("NOO", "P"), ("STARTTL", "S"), ("", "x"), ("BDAT ", "2")]
    everyCase(atLeast: Extent.choose(quick: 7_000, full: 40_000)) { trial in
      let (verb, letter) = trial.choices.one(of: beginnings)
      var line = Array(verb.utf8)
      let alphabet = [UInt8(ascii: " "), 0x0D, 0x0A, 0x00, letter.utf8.first ?? 0, 0x09]
      for _ in 0..<Extent.choose(quick: 4, full: 5) { line.append(trial.choices.one(of: alphabet)) }
      var lockstep = Lockstep(Policy())
      defer { trial.show(lockstep.transcript) }
      try lockstep.happen(.arrives(.server("220 be\r\n")))
      try lockstep.happen(.arrives(.client("EHLO c\r\n")))
      try lockstep.happen(.arrives(.server("250 be\r\n")))
      try lockstep.happen(.arrives(Arrival(client: line + [0x0D, 0x0A])))
    }
  }

  /// Every beginning of a reply, where one is pending and where none is, octet by octet.
  func testEveryShortLineOfAServer() {
    let alphabet: [UInt8] = Array("2506- ".utf8) + [0x0D, 0x0A, 0x00, 0x61]
    everyCase(atLeast: Extent.choose(quick: 10_000, full: 100_000)) { trial in
      let command = trial.choices.one(of: ["", "NOOP\r\n", "AUTH X\r\n", "QUIT\r\n", "EHLO c\r\n"])
      let code = trial.choices.one(of: ["", "25", "421", "334"])
      var line = Array(code.utf8)
      for _ in 0..<(Extent.choose(quick: 3, full: 4) - (code.count > 2 ? 1 : 0)) { line.append(trial.choices.one(of: alphabet)) }
      var policy = Policy()
      policy.allowsCleartextAuthentication = true
      var lockstep = Lockstep(policy, cuts: .everyOctet)
      defer { trial.show(lockstep.transcript) }
      try lockstep.happen(.arrives(.server("220 be\r\n")))
      try lockstep.happen(.arrives(.client(command)))
      try lockstep.happen(.arrives(Arrival(server: line)))
    }
  }

  /// Every EHLO reply of up to four lines, or three in `make test`, in clear and inside TLS.
  func testEveryEHLOReply() {
    let keywords = [
      "be", "STARTTLS", "AUTH PLAIN", "auth=x", "XCLIENT a", "XFORWARD", "REQUIRETLS", "STARTTLSX", "AUTHX", "", "AUTH\tx",
    ]
    everyCase(atLeast: Extent.choose(quick: 5_000, full: 60_000)) { trial in
      var policy = Policy()
      policy.allowsCleartextAuthentication = trial.choices.below(2) == 1
      var lockstep = Lockstep(policy)
      defer { trial.show(lockstep.transcript) }
      try lockstep.happen(.arrives(.server("220 be\r\n")))
      if trial.choices.below(2) == 1 {
        try lockstep.happen(.arrives(.client("EHLO c\r\n")))
        try lockstep.happen(.arrives(.server("250 be\r\n")))
        try lockstep.happen(.arrives(.client("STARTTLS\r\n")))
        try lockstep.happen(.secured(.established))
        try lockstep.happen(.restarted(.ready))
      }
      try lockstep.happen(.arrives(.client("EHLO c\r\n")))
      let count = 1 + trial.choices.below(Extent.choose(quick: 3, full: 4))
      for index in 0..<count {
        let isLast = index == count - 1
        let keyword = trial.choices.one(of: keywords)
        let isCodeAlone = isLast && keyword.isEmpty
        try lockstep.happen(.arrives(.server("250\(isCodeAlone ? "" : isLast ? " " : "-")\(keyword)\r\n")))
      }
    }
  }

  /// What must be reached, and in what share of the cases.
  private static let labels: [String: Double] = {
    var labels: [String: Double] = [:]
    for phase in Phase.allCases { labels["phase \(phase)"] = 0.005 }
    for reason in Reason.allCases {
      labels["close \(reason.name)"] = 0.0005
      labels["abort \(reason.name)"] = 0.0003
    }
    for reply in Reply.allCases { labels["reply \(reply.code)"] = 0.0004 }
    labels["close mail"] = nil  // MAIL closes nothing.
    for reason in [Reason.tlsFailed, .restartFailed] { labels["abort \(reason.name)"] = nil }  // They come after the handoff.
    for reason in [Reason.handshakeTimeout, .resetTimeout] {
      labels["close \(reason.name)"] = 0.0002
      labels["abort \(reason.name)"] = 0.00005
    }
    for word in ["handoff", "relay", "copied", "end server", "restart", "peek server", "peek client", "reset server"] {
      labels[word] = 0.05
    }
    for verb in ["ehlo", "helo", "lhlo", "auth", "response", "mail", "quit", "bdat", "other"] {
      labels["forward \(verb)"] = 0.005
    }
    for verb in ["rset", "noop", "vrfy", "expn", "help", "etrn"] { labels["forward \(verb)"] = 0.01 }
    for word in ["opportunistic", "required", "smtp", "lmtp", "rset", "restart"] { labels["policy \(word)"] = 0.1 }
    for event in [
      "client ended", "server ended", "octets", "peeked", "drained", "unavailable", "secured", "restarted", "expired",
    ] { labels["event \(event)"] = 0.01 }
    return labels
  }()
}
