// Options: the command line.
//
//     ucspi-tlsd [options] [--] prog...
//
// Failure: a CommandLineError, whose text is one line.

import ProgramSupport
import Transport

/// What the program is called with.
struct Options {
  var purpose = CommandLinePurpose.serve
  /// What the helper is to be told.
  var helper = TLSHelperOptions()
  /// The TLS engine's program; nil: `tlsd-io`, beside this one or in PATH.
  var engine: String?
  /// Whether the server program sees where the certificates are.
  var keepsEnvironment = false
  /// The index of the server program in the arguments.
  var program = 0

  private static let help = """
    usage: ucspi-tlsd [options] prog...
    Makes the channels of UCSPI-TLS and executes prog, which then can put TLS between itself and the client on standard
    input and output. Exchangeable with s6-ucspitlsd.

      -S, --close-notify            say the server's end with close_notify
      -s, --no-close-notify         end the TCP direction only (default)
      -J, --enforce-close-notify    a client's end without close_notify is an error
      -j, --no-enforce-close-notify it is none (default)
      -Y, --client-cert             ask the client for a certificate
      -y, --mandatory-client-cert   and refuse it without
      -k, --sni-level N             1: also CERTFILE:name and KEYFILE:name, 2: only these (default 0)
          --sni, --mandatory-sni    -k 1, -k 2
      -K, --handshake-timeout MS    limit of the handshake in milliseconds; 0: none (default 30000)
      -T, --session-timeout MS      limit of the whole session in milliseconds; 0: none (default 86400000, a day)
      -Z, --keep                    leave CERTFILE and the like in prog's environment
      -z, --no-keep                 remove them (default)
      -v, --verbosity N             0 quiet, 1 failures, 2 also successes (default 1)
          --engine PROGRAM          the TLS engine (default: tlsd-io beside this program, or in PATH)
          --help, --version         print this text or the version

    environment: CERTFILE and KEYFILE (PEM files) or CERTFILE:name and KEYFILE:name; CADIR or CAFILE with -y and -Y;
    TLS_UID and TLS_GID, which the engine takes on when it is started by root
    exit codes: 100 usage, 111 system failure, 126 or 127 prog cannot be executed or is not there, else prog's

    """

  static let text = ProgramText(name: "ucspi-tlsd", help: help)

  private static let list: InlineArray<5, CommandLineOption> = [
    CommandLineOption("Z", "keep"),
    CommandLineOption("z", "no-keep"),
    CommandLineOption(nil, "engine", takesValue: true),
    CommandLineOption(nil, "help"),
    CommandLineOption(nil, "version"),
  ]

  /// Reads the command line.
  init(count: CInt, arguments: CommandLineOption.Arguments) throws(CommandLineError) {
    var options = Options()
    options.program = try CommandLineOption.parse(
      Options.list.span, shared: TLSHelperOptions.list.span, count: count, arguments: arguments
    ) { (name, value) throws(CommandLineError) in
      switch name {
      case "keep": options.keepsEnvironment = true
      case "no-keep": options.keepsEnvironment = false
      case "engine": options.engine = value
      case "help": options.purpose = .help
      case "version": options.purpose = .version
      default: _ = try options.helper.accept(name, value)
      }
    }
    guard options.purpose != .serve || options.program < Int(count) else {
      throw CommandLineError("no program to execute; see --help")
    }
    self = options
  }

  /// The defaults.
  init() {}
}
