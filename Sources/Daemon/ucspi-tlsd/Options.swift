// Options: the command line.
//
//     ucspi-tlsd [options] [--] prog...
//
// Failure: a CommandLineError, whose text is one line.

import ProgramSupport
import Transport

/// The settings from the command line.
struct Options {
  var purpose = CommandLinePurpose.serve
  /// The options for the helper.
  var helper = TLSHelperOptions()
  /// The program of the TLS engine; nil: `tlsd-io`, in this program's folder or in PATH.
  var engine: String?
  /// The socket of an engine that already runs; nil: one is executed for each session.
  var engineSocket: String?
  /// True if the server program keeps the variables that name the certificates.
  var keepsEnvironment = false
  /// The index of the server program in the arguments.
  var program = 0

  private static let help = """
    usage: ucspi-tlsd [options] prog...
    Creates the channels of UCSPI-TLS and executes prog, which can then start TLS with the client on standard input and
    output. Compatible with s6-ucspitlsd.

      -S, --close-notify            send close_notify when the server program ends its output
      -s, --no-close-notify         end the TCP direction only (default)
      -J, --enforce-close-notify    a client's end without close_notify is an error
      -j, --no-enforce-close-notify it is no error (default)
      -Y, --client-cert             ask the client for a certificate, which is optional
      -y, --mandatory-client-cert   ask the client for a certificate, and fail the handshake without one
      -k, --sni-level N             0: CERTFILE and KEYFILE; 1: also CERTFILE:name and KEYFILE:name; 2: only the latter
                                    (default 0)
          --sni, --mandatory-sni    same as -k 1, same as -k 2
          --tls-profile PROFILE     modern: TLS 1.2 and 1.3, AEAD and forward secrecy only; compatible: also CBC ciphers and
                                    DHE-RSA; or priority= and a GnuTLS priority string (default compatible)
          --tls-groups NAMES        groups of the key exchange, with commas, the first is preferred
      -K, --handshake-timeout MS    timeout of the handshake in milliseconds; 0: none (default 30000)
      -T, --session-timeout MS      timeout of the whole session in milliseconds; 0: none (default 86400000, one day)
          --end-timeout MS          for the client to read the rest of the output after the end of prog; 0: no limit
                                    (default 60000)
      -Z, --keep                    leave CERTFILE and related variables in prog's environment
      -z, --no-keep                 remove them (default)
      -v, --verbosity N             0: quiet, 1: failures, 2: also successes (default 1)
          --engine PROGRAM          the TLS engine (default: tlsd-io in this program's folder, or in PATH)
          --engine-socket PATH      pass sessions to the engine that listens there (tlsd-io --listen PATH); if it does not
                                    take one, the engine is executed
          --help, --version         print this text or the version

    environment: CERTFILE and KEYFILE (files in PEM or DER) or CERTFILE:name and KEYFILE:name; OCSPFILE and OCSPFILE:name;
    CADIR or CAFILE, and CRLFILE, with -y and -Y; TLS_UID and TLS_GID: user and group of the engine, if it is started by
    root
    exit codes: 100 usage, 111 system failure, 126 prog cannot be executed, 127 prog does not exist, else prog's

    """

  static let text = ProgramText(name: "ucspi-tlsd", help: help)

  private enum Name: Int, ProgramOption {
    case keep, noKeep, engine, engineSocket, help, version

    var form: CommandLineOption {
      switch self {
      case .keep: CommandLineOption("Z", "keep")
      case .noKeep: CommandLineOption("z", "no-keep")
      case .engine: CommandLineOption(nil, "engine", takesValue: true)
      case .engineSocket: CommandLineOption(nil, "engine-socket", takesValue: true)
      case .help: CommandLineOption(nil, "help")
      case .version: CommandLineOption(nil, "version")
      }
    }
  }

  /// Reads the command line.
  init(count: CInt, arguments: CommandLineOption.Arguments) throws(CommandLineError) {
    var options = Options()
    options.program = try Name.parse(
      count: count, arguments: arguments,
      shared: { (option: TLSHelperOptions.Option, value) throws(CommandLineError) in try options.helper.accept(option, value) }
    ) { (option, value) throws(CommandLineError) in
      switch option {
      case .keep: options.keepsEnvironment = true
      case .noKeep: options.keepsEnvironment = false
      case .engine: options.engine = value
      case .engineSocket: options.engineSocket = value
      case .help: options.purpose = .help
      case .version: options.purpose = .version
      }
    }
    guard options.purpose != .serve || options.program < Int(count) else {
      throw CommandLineError("no program to execute; see --help")
    }
    self = options
  }

  /// Creates the defaults.
  init() {}
}
