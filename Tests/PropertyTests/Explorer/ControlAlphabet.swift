// ControlAlphabet: everything that the control of a session can tell apart, as tokens: whole lines and events.
//
// The control sees no octets. It sees the scanners' tokens, one a line, and three facts about lines that are not
// complete: a chunk is being skipped, a line of a SASL exchange is awaited, a line of the server has begun. Here each
// of these is a token, spelled as octets, so that it is the shipped `receive` that reads it. ScannerExplorationTests
// shows that none is missing.

import PropertyKit
@testable import SMTPState
@testable import SessionKit

/// One thing that happens to a session.
enum ControlToken {
  case event(SessionEvent)
  case says(Side, [UInt8])

  static func says(_ side: Side, _ text: String) -> ControlToken { .says(side, Array(text.utf8)) }

  /// Lets it happen up to its first command that is neither `keep` nor `drop`, and returns the last one. Calls `check`
  /// on every step.
  func apply(
    to session: inout SMTPSession,
    check: (_ from: SMTPSession, _ event: SessionEvent, _ command: Command, _ to: SMTPSession) -> Void = { _, _, _, _ in }
  ) -> Command {
    switch self {
    case .event(let event):
      let from = session
      let command = event.apply(to: &session)
      check(from, event, command, session)
      return command
    case .says(let side, let octets):
      var taken = 0
      while true {
        let from = session
        let step = session.receive(octets.span.extracting(droppingFirst: taken), from: side.party(in: session))
        if step.consumed == 0 { return step.command }
        taken += step.consumed
        check(from, .octet(side, octets[taken - 1]), step.command, session)
        if taken == octets.count || !step.command.isSilent { return step.command }
      }
    }
  }
}

extension ControlToken: CustomStringConvertible {
  var description: String {
    switch self {
    case .event(let event): "\(event)"
    case .says(let side, let octets): "\(side == .client ? "C:" : "S:") \(Notation.encoded(octets))"
    }
  }
}

struct ControlAlphabet {
  /// The client's commands: every verb with and without a parameter, and every flaw.
  let commands: [ControlToken]
  /// The lines of a SASL exchange.
  let responses: [ControlToken] = [.says(.client, "=\r\n"), .says(.client, "\0\r\n")]
  /// All octets of a chunk.
  private let chunk: ControlToken
  /// The server's lines: every kind of code, last or not; and garbage.
  let lines: [ControlToken]
  /// Lines with a keyword.
  let listings: [ControlToken]
  /// A line of the server that has begun, by its first digit, and what the rest of it can be.
  private let begun: [(scanner: ReplyScanner, beginning: ControlToken, rest: [ControlToken])]
  /// After one line of a reply that goes on, and after two, by its code.
  private let replies: [(one: ReplyScanner, two: ReplyScanner)]
  /// After a 334.
  private let awaitsResponse: CommandScanner

  static let codes = ["220", "221", "235", "250", "334", "354", "421", "454", "550"]

  init(_ policy: Policy) {
    let ends = policy.bareLineFeed == .reject ? ["\r\n", "\n"] : ["\r\n"]
    let words = Verb.allCases.map { "\($0.word)" }.filter { !$0.isEmpty && $0 != "BDAT" } + ["FOO"]
    let chunks = ["", " x", " 0", " \(policy.chunkLimit)", " \(policy.chunkLimit + 1)", " x\0"].map { "BDAT\($0)" }
    let flawed = ["", " x", "\0", "\0 x", "\u{16}", "BDAT \r"]
    commands = (words.flatMap { [$0, "\($0) x"] } + chunks + flawed).flatMap { line in
      ends.map { .says(.client, line + $0) }
    }
    chunk = .says(.client, Array(repeating: .lineFeed, count: policy.chunkLimit))

    let texts = Self.codes.flatMap { ["\($0)\n", "\($0)-\n"] } + ["?"]
    lines = texts.map { .says(.server, $0) }
    listings = Self.codes.flatMap { code in
      (0..<Keyword.count).flatMap { keyword in
        [" ", "-"].map { .says(.server, "\(code)\($0)\(Keyword.word(keyword))\n") }
      }
    }
    begun = ["2", "3", "4", "5"].map { digit in
      let rest = texts.filter { $0.hasPrefix(digit) }.map { String($0.dropFirst()) } + ["?"]
      return (Self.scanner(after: digit, policy), .says(.server, digit), rest.map { .says(.server, $0) })
    }
    replies = Self.codes.map { code in
      (Self.scanner(after: "\(code)-\n", policy), Self.scanner(after: "\(code)-\n\(code)-\n", policy))
    }
    var response = CommandScanner()
    response.expectResponse()
    awaitsResponse = response
  }

  static func scanner(after text: String, _ policy: Policy) -> ReplyScanner {
    var scanner = ReplyScanner()
    for octet in text.utf8 { _ = scanner.scan(octet, Limits(policy), findsKeywords: false) }
    return scanner
  }

  /// All that a caller may let happen in a state, and some of what it must not. Of the client's commands those given.
  func tokens(in state: SMTPSession, commands: [ControlToken], into tokens: inout [ControlToken]) {
    tokens.removeAll(keepingCapacity: true)
    let interest = state.interest
    if interest == .again {
      for event in Self.whileAgain { tokens.append(.event(event)) }
      return
    }
    if interest != .both {
      tokens.append(.event(.octet(.client, 0x41)))
    } else if state.client.isSkippingChunk {
      tokens.append(chunk)
    } else {
      tokens += state.client == awaitsResponse ? responses : commands
    }
    if interest != .both && interest != .server {
      tokens.append(.event(.octet(.server, 0x41)))
    } else if let line = begun.first(where: { $0.scanner == state.server }) {
      tokens += line.rest
    } else {
      tokens += lines
      if state.pending == .ehlo { tokens += listings }
      // Whether a line has begun matters only where none is pending.
      if state.outstanding == 0 { tokens += begun.map(\.beginning) }
    }
    for event in Self.always { tokens.append(.event(event)) }
    if let timer = state.deadline { tokens.append(.event(.expired(timer))) }
    switch state.phase {
    case .peekingBeforeReset, .peekingAtServer, .peekingAtClient: for event in Self.looks { tokens.append(.event(event)) }
    case .handshaking: tokens.append(.event(.secured(.established)))
    case .restarting: for outcome in RestartOutcome.allCases { tokens.append(.event(.restarted(outcome))) }
    case .greeting, .negotiating, .resetting, .promised, .regreeting, .secured, .quitting, .refusing, .relaying, .closed:
      break
    }
  }

  private static let whileAgain: [SessionEvent] =
    [.next, .unavailable, .ended(.client), .secured(.failed), .drained, .expired(.clearPhase), .otherEnded]
  private static let always: [SessionEvent] =
    [
      .ended(.client), .ended(.server), .unavailable, .drained, .secured(.failed), .expired(.clearPhase),
      .octetOfOther(0x41), .otherEnded,
    ]
  private static let looks: [SessionEvent] =
    [.peeked(nil, ended: false), .peeked(nil, ended: true), .peeked(0x16, ended: false), .peeked(0x41, ended: false)]

  /// Takes the lines of a reply from its second on for one another: after two it is as after one. The number is
  /// private to the scanner, whose tokens are the same for each (ScannerExplorationTests), but for the line too many,
  /// which is garbage.
  func foldLines(of session: inout SMTPSession) {
    guard session.server != ReplyScanner() else { return }
    for reply in replies where session.server == reply.two { session.server = reply.one }
  }
}
