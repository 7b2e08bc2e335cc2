// ProbeDialogue: the commands that a probe sends to a server program, and its conclusion from the replies.
//
// An unknown client offers mail to a recipient of another domain, which only an open relay accepts: first with the null
// sender, which no server may refuse, then with a sender. No DATA and no message are sent. Names under `.invalid` are
// reserved (RFC 2606), and so are addresses of 192.0.2.0/24 (RFC 5737). The recipient with an address as its domain is
// for servers that look up every domain and would refuse a name under `.invalid` for that reason alone.
//
// A value without input and output: it receives reply lines and returns commands. The first reply to a recipient counts
// even if the program then ends or exceeds its time: many servers slow down or disconnect a client after a refusal.

/// The dialogue of one probe.
package struct ProbeDialogue {
  /// The client's address in the program's environment: an address reserved for documentation.
  package static let client = "192.0.2.1"

  /// What to do after a line.
  package enum Action: Hashable, Sendable {
    /// Another line of the reply follows.
    case wait
    /// Send this command, CRLF included.
    case send(String)
    /// The dialogue has ended.
    case finished
  }

  private enum Sender: String {
    case null = "<>"
    case named = "<postmaster@relay-probe.invalid>"
  }

  private enum Recipient: String {
    case domain = "<postmaster@relay-probe.invalid>"
    case literal = "<postmaster@[192.0.2.2]>"
  }

  /// The pending reply.
  private enum Phase {
    case greeting
    /// To EHLO, or to LHLO.
    case hello
    /// To HELO, after EHLO was refused.
    case helo
    case mail(Sender)
    case recipient(Sender, Recipient)
    /// To the RSET between the two mails.
    case reset
    case quit
    case ended
  }

  private let isLMTP: Bool
  private var phase = Phase.greeting
  /// The command whose reply is pending, for messages.
  private var command = ""
  /// The number of lines of the reply so far, to limit them.
  private var lines = 0
  private var accepted: RelayFinding?
  private var refusal: String?
  private var deferral: String?
  private var senderRefusal: String?
  private var failure: String?

  package init(isLMTP: Bool) {
    self.isLMTP = isLMTP
  }

  /// Processes a line of a reply, without its line end.
  package mutating func receive(_ line: String) -> Action {
    lines += 1
    let octets = Array(line.utf8)
    let isReply =
      octets.count >= 3 && octets.prefix(3).allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
      && (octets.count == 3 || octets[3] == UInt8(ascii: " ") || octets[3] == UInt8(ascii: "-"))
    guard isReply, lines <= 128 else { return refused(line) }
    if octets.count > 3, octets[3] == UInt8(ascii: "-") { return .wait }
    lines = 0
    return replied(octets[0], line)
  }

  /// The program has ended its output.
  package mutating func ended() {
    _ = fail(command.isEmpty ? "ends without a greeting" : "ends without an answer to \(command)")
  }

  /// The time has expired.
  package mutating func expired() {
    _ = fail(command.isEmpty ? "sends no greeting in time" : "does not answer \(command) in time")
  }

  /// Octets came while no reply was pending, or too many without a line end.
  package mutating func misbehaved() {
    _ = fail("sends more than it was asked for")
  }

  /// The conclusion. Read it after the end.
  package var finding: RelayFinding {
    if let accepted { return accepted }
    if let refusal { return .refuses(reply: refusal) }
    if let deferral { return .defers(reply: deferral) }
    if let failure { return .broken(failure) }
    if let senderRefusal { return .untried(reply: senderRefusal) }
    return .broken("answers nothing")
  }

  // MARK: Transitions

  /// A reply is complete.
  private mutating func replied(_ first: UInt8, _ line: String) -> Action {
    let isPositive = first == UInt8(ascii: "2")
    switch phase {
    case .greeting:
      return isPositive ? ask("\(isLMTP ? "LHLO" : "EHLO") [\(ProbeDialogue.client)]", .hello) : refused(line)
    case .hello:
      if isPositive { return mail(.null) }
      return isLMTP ? refused(line) : ask("HELO [\(ProbeDialogue.client)]", .helo)
    case .helo:
      return isPositive ? mail(.null) : refused(line)
    case .mail(let sender):
      if isPositive { return recipient(sender, .domain) }
      // RFC 4954: a server that requires authentication first replies 530, possibly already to MAIL.
      if line.hasPrefix("530") { refusal = refusal ?? line } else { senderRefusal = senderRefusal ?? line }
      return next(after: sender, isOpen: false)
    case .recipient(let sender, let recipient):
      if isPositive {
        accepted = .accepts(command: command, reply: line)
        return quit()
      }
      guard recipient == .domain else { return next(after: sender, isOpen: true) }
      if first == UInt8(ascii: "5") { refusal = refusal ?? line } else { deferral = deferral ?? line }
      return self.recipient(sender, .literal)
    case .reset:
      return isPositive ? mail(.named) : quit()
    case .quit, .ended:
      phase = .ended
      return .finished
    }
  }

  private mutating func mail(_ sender: Sender) -> Action {
    ask("MAIL FROM:\(sender.rawValue)", .mail(sender))
  }

  private mutating func recipient(_ sender: Sender, _ recipient: Recipient) -> Action {
    ask("RCPT TO:\(recipient.rawValue)", .recipient(sender, recipient))
  }

  /// Continues after the last reply about a sender's mail. The transaction may still be open.
  private mutating func next(after sender: Sender, isOpen: Bool) -> Action {
    guard sender == .null else { return quit() }
    return isOpen ? ask("RSET", .reset) : mail(.named)
  }

  private mutating func quit() -> Action { ask("QUIT", .quit) }

  private mutating func ask(_ command: String, _ next: Phase) -> Action {
    self.command = command
    phase = next
    return .send(command + "\r\n")
  }

  /// The program does not serve the probe's client, or does not speak SMTP.
  private mutating func refused(_ line: String) -> Action {
    fail("\(command.isEmpty ? "greets" : "answers \(command)") with \"\(line)\"")
  }

  private mutating func fail(_ what: String) -> Action {
    if failure == nil { failure = what }
    phase = .ended
    return .finished
  }
}
