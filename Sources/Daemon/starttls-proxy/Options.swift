// Options: the command line.
//
//     starttls-proxy [options] [--] prog...
//     starttls-proxy --check [options] [--] prog...
//
// Failure: a CommandLineError, whose text is one line.

import ProgramSupport
import SMTPState
import Transport

/// The settings from the command line.
struct Options {
  /// The kind of helper on the control socket.
  enum Helper {
    /// Determined from the environment.
    case found
    /// It ends when the control socket ends: s6-ucspitlsd, ucspi-tlsd.
    case ordinary
    /// It ends the server program when the control socket ends: sslserver of ucspi-ssl.
    case ucspiSSL
  }

  var purpose = CommandLinePurpose.serve
  var policy = SMTPSession.Policy()
  var timeouts = SessionDriver.Timeouts()
  var helper = Helper.found
  /// Do not serve: test if the server program is an open relay.
  var checks = false
  /// Execute a program that is known to trust its descriptor.
  var trustsProgram = false
  /// 0: quiet; 1: the session's line and failures; 2: also the decision when it is made.
  var verbosity = 1
  /// The index of the server program in the arguments.
  var program = 0

  /// How much later than the handshake's timeout the helper's report may come.
  private static let reportMilliseconds = 5_000

  /// Reads the command line.
  init(count: CInt, arguments: CommandLineOption.Arguments) throws(CommandLineError) {
    var options = Options()
    options.policy.serverReset = .rset
    options.program = try CommandLineOption.parse(Options.list.span, count: count, arguments: arguments) {
      (name, value) throws(CommandLineError) in
      switch name {
      case "help": options.purpose = .help
      case "version": options.purpose = .version
      case "check": options.checks = true
      case "trusting-backend": options.trustsProgram = true
      case "verbosity": options.verbosity = try CommandLineOption.number(value, of: name)
      case "helper":
        options.helper = try choice(value, of: name, ["auto": .found, "s6": .ordinary, "ucspi-ssl": .ucspiSSL])
      default:
        if try options.acceptChoice(name, value) { return }
        if try options.acceptLimit(name, value) { return }
        try options.acceptTimeout(name, value)
      }
    }
    guard options.purpose != .serve || options.program < Int(count) else {
      throw CommandLineError("no program to execute; see --help")
    }
    guard !options.policy.allowsCleartextAuthentication || options.policy.security == .opportunistic else {
      throw CommandLineError("--allow-cleartext-auth makes no sense with --policy required: choose one")
    }
    guard !options.checks || !options.trustsProgram else {
      throw CommandLineError("--check cannot be used with --trusting-backend: choose one")
    }
    options.policy.handshakeTimeoutMilliseconds += Options.reportMilliseconds
    self = options
  }

  /// Creates the defaults.
  init() {}

  private mutating func acceptChoice(_ name: String, _ value: String) throws(CommandLineError) -> Bool {
    switch name {
    case "policy": policy.security = try choice(value, of: name, ["opportunistic": .opportunistic, "required": .required])
    case "protocol": policy.mailProtocol = try choice(value, of: name, ["smtp": .smtp, "lmtp": .lmtp])
    case "allow-cleartext-auth": policy.allowsCleartextAuthentication = true
    case "tolerate-bare-lf": policy.bareLineFeed = .tolerate
    default: return false
    }
    return true
  }

  private mutating func acceptLimit(_ name: String, _ value: String) throws(CommandLineError) -> Bool {
    // A limit below 512 octets would break RFC 5321, 4.5.3.1; several of the longest lines must fit into one buffer.
    let line = 512...16_384
    switch name {
    case "max-line": policy.commandLineLimit = try number(value, of: name, line)
    case "max-reply-line": policy.replyLineLimit = try number(value, of: name, line)
    case "max-reply-lines": policy.replyLinesLimit = try number(value, of: name, 1...65_535)
    case "max-outstanding": policy.outstandingLimit = try number(value, of: name, 1...255)
    case "max-junk": policy.junkLimit = try number(value, of: name, 1...255)
    case "max-commands": policy.commandLimit = try number(value, of: name, 1...65_535)
    case "max-chunk": policy.chunkLimit = try number(value, of: name, 1...1_000_000_000)
    default: return false
    }
    return true
  }

  private mutating func acceptTimeout(_ name: String, _ value: String) throws(CommandLineError) {
    // Only the session timer can be switched off: every phase ends by itself.
    let milliseconds = try number(value, of: name, (name == "session-timeout" ? 0 : 1)...1_000_000_000)
    switch name {
    case "greeting-timeout": policy.greetingTimeoutMilliseconds = milliseconds
    case "command-timeout": policy.commandTimeoutMilliseconds = milliseconds
    case "reply-timeout": policy.replyTimeoutMilliseconds = milliseconds
    case "reset-timeout": policy.resetTimeoutMilliseconds = milliseconds
    case "handshake-timeout": policy.handshakeTimeoutMilliseconds = milliseconds
    case "clear-phase-timeout": policy.clearPhaseTimeoutMilliseconds = milliseconds
    case "session-timeout": timeouts.sessionMilliseconds = milliseconds
    case "idle-timeout": timeouts.relayIdleMilliseconds = milliseconds
    case "output-timeout": timeouts.outputStalledMilliseconds = milliseconds
    default: throw CommandLineError("--\(name) is not an option; see --help")
    }
  }
}

// MARK: - Values

private func number(_ value: String, of name: String, _ range: ClosedRange<Int>) throws(CommandLineError) -> Int {
  let number = try CommandLineOption.number(value, of: name)
  guard range.contains(number) else {
    throw CommandLineError("--\(name) must be from \(range.lowerBound) to \(range.upperBound)")
  }
  return number
}

private func choice<Choice>(
  _ value: String, of name: String, _ choices: KeyValuePairs<String, Choice>
) throws(CommandLineError) -> Choice {
  if let chosen = choices.first(where: { $0.key == value }) { return chosen.value }
  throw CommandLineError("--\(name) must be one of " + choices.map(\.key).joined(separator: ", "))
}
