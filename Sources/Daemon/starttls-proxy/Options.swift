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
  /// The time that a client has for the rest of the output after the server program has ended. The server that counts the server
  /// programs does not count the proxies.
  var endMilliseconds = 60_000
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
    options.program = try Name.parse(count: count, arguments: arguments) { (option, value) throws(CommandLineError) in
      try options.accept(option, value)
    }
    guard options.purpose != .serve || options.program < Int(count) else {
      throw CommandLineError("no program to execute; see --help")
    }
    guard !options.policy.allowsCleartextAuthentication || options.policy.security == .opportunistic else {
      throw CommandLineError("--allow-cleartext-auth cannot be used with --policy required: choose one")
    }
    guard !options.checks || !options.trustsProgram else {
      throw CommandLineError("--check cannot be used with --trusting-backend: choose one")
    }
    options.policy.handshakeTimeoutMilliseconds += Options.reportMilliseconds
    self = options
  }

  /// Creates the defaults.
  init() {}

  private mutating func accept(_ option: Name, _ value: String) throws(CommandLineError) {
    // A limit below 512 octets would break RFC 5321, 4.5.3.1; several of the longest lines must fit into one buffer.
    let line = 512...16_384
    // Only the session timer can be switched off: every phase ends by itself.
    let milliseconds = 1...1_000_000_000
    switch option {
    case .help: purpose = .help
    case .version: purpose = .version
    case .check: checks = true
    case .trustingBackend: trustsProgram = true
    case .verbosity: verbosity = try option.number(value)
    case .helper: helper = try option.choice(value, ["auto": .found, "s6": .ordinary, "ucspi-ssl": .ucspiSSL])

    case .policy: policy.security = try option.choice(value, ["opportunistic": .opportunistic, "required": .required])
    case .mailProtocol: policy.mailProtocol = try option.choice(value, ["smtp": .smtp, "lmtp": .lmtp])
    case .allowCleartextAuthentication: policy.allowsCleartextAuthentication = true
    case .tolerateBareLineFeed: policy.bareLineFeed = .tolerate

    case .maxLine: policy.commandLineLimit = try option.number(value, line)
    case .maxReplyLine: policy.replyLineLimit = try option.number(value, line)
    case .maxReplyLines: policy.replyLinesLimit = try option.number(value, 1...65_535)
    case .maxOutstanding: policy.outstandingLimit = try option.number(value, 1...255)
    case .maxJunk: policy.junkLimit = try option.number(value, 1...255)
    case .maxCommands: policy.commandLimit = try option.number(value, 1...65_535)
    case .maxChunk: policy.chunkLimit = try option.number(value, 1...1_000_000_000)

    case .greetingTimeout: policy.greetingTimeoutMilliseconds = try option.number(value, milliseconds)
    case .commandTimeout: policy.commandTimeoutMilliseconds = try option.number(value, milliseconds)
    case .replyTimeout: policy.replyTimeoutMilliseconds = try option.number(value, milliseconds)
    case .resetTimeout: policy.resetTimeoutMilliseconds = try option.number(value, milliseconds)
    case .handshakeTimeout: policy.handshakeTimeoutMilliseconds = try option.number(value, milliseconds)
    case .clearPhaseTimeout: policy.clearPhaseTimeoutMilliseconds = try option.number(value, milliseconds)
    case .idleTimeout: timeouts.relayIdleMilliseconds = try option.number(value, milliseconds)
    case .outputTimeout: timeouts.outputStalledMilliseconds = try option.number(value, milliseconds)
    case .endTimeout: endMilliseconds = try option.number(value, milliseconds)
    case .sessionTimeout: timeouts.sessionMilliseconds = try option.number(value, 0...1_000_000_000)
    }
  }
}
