// Options: the command line.
//
//     tlsd-io [options] [--] fdr fdw
//     tlsd-io [options] [--] program [arguments...]
//     tlsd-io [options] --listen path
//
// Failure: a CommandLineError, whose text is one line.

import ProgramSupport
import Transport

/// The settings from the command line.
struct Options {
  var purpose = CommandLinePurpose.serve
  var helper = TLSHelperOptions()
  /// Where to report the session; nil: nowhere.
  var notification: CInt?
  /// The descriptor to read octets for TLS from.
  var reading: CInt = -1
  /// The descriptor to write octets out of TLS to.
  var writing: CInt = -1
  /// The server program and its arguments, for a client that begins with TLS; nil: the descriptors are given.
  var program: CommandLineOption.Arguments?
  /// The socket of an engine for many sessions; nil: one session.
  var listening: String?
  /// The most sessions of such an engine; 0: no limit.
  var sessionsLimit = Options.defaultSessionsLimit
  /// As many as `starttlsd` has connections. A session that waits for its client has 0.3 MiB of memory of its own.
  private static let defaultSessionsLimit = 1_000
  /// True if the server program keeps the variables that name the certificates.
  var keepsEnvironment = false

  private static let help = """
    usage: tlsd-io [options] fdr fdw
           tlsd-io [options] program [arguments...]
           tlsd-io [options] --listen path
    TLS server for the client on standard input and output. Decrypted octets from the client are written to fdw; octets
    read from fdr are encrypted and sent to the client. TLS 1.2 and 1.3. Compatible with s6-tlsd-io. With a program, which
    does not begin with a digit: executes it after the handshake, with the octets of the session as its standard input and
    output, as s6-tlsd does; for clients that begin with TLS, as on port 465. With --listen: stays, and serves the sessions
    that ucspi-tlsd --engine-socket passes to it, each in a process of its own, without the cost of a start.

      -S, --close-notify            send close_notify when the server program ends its output
      -s, --no-close-notify         end the TCP direction only (default)
      -J, --enforce-close-notify    a client's end without close_notify is an error: exit 98
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
      -T, --session-timeout MS      timeout of the whole session in milliseconds; 0: none (default 86400000, one day). With
                                    --listen -K, -T and --end-timeout limit those of the sessions
          --end-timeout MS          for the client to read the rest of the output after the end of the program; 0: no limit
                                    (default 60000)
      -d, --notification-fd N       after the handshake, report the session to descriptor N: NAME=value strings, then an
                                    empty string
      -Z, --keep                    leave CERTFILE and related variables in the program's environment
      -z, --no-keep                 remove them (default)
          --listen PATH             the socket for sessions; owner and group may use it, as the umask permits
          --max-sessions N          with --listen: the most sessions; further ones are refused, and ucspi-tlsd executes an
                                    engine for them; 0: no limit (default 1000)
      -v, --verbosity N             0: quiet, 1: failures, 2: also successes (default 1)
          --help, --version         print this text or the version

    environment: CERTFILE and KEYFILE (files in PEM or DER) or CERTFILE:name and KEYFILE:name; OCSPFILE and OCSPFILE:name:
    OCSP responses; CADIR or CAFILE, and CRLFILE, with -y and -Y; TLS_UID and TLS_GID: user and group to change to after
    the keys are read, if started by root
    exit codes: 0 success, 96 certificate or key, 97 TLS set-up, 98 TLS, 100 usage, 111 system failure; with a program:
    98 no TLS, 126 it cannot be executed, 127 it does not exist, else the program's

    """

  static let text = ProgramText(name: "tlsd-io", help: help)

  private enum Name: Int, ProgramOption {
    case notification, keep, noKeep, listen, maxSessions, help, version

    var form: CommandLineOption {
      switch self {
      case .notification: CommandLineOption("d", "notification-fd", takesValue: true)
      case .keep: CommandLineOption("Z", "keep")
      case .noKeep: CommandLineOption("z", "no-keep")
      case .listen: CommandLineOption(nil, "listen", takesValue: true)
      case .maxSessions: CommandLineOption(nil, "max-sessions", takesValue: true)
      case .help: CommandLineOption(nil, "help")
      case .version: CommandLineOption(nil, "version")
      }
    }
  }

  /// Reads the command line.
  init(count: CInt, arguments: CommandLineOption.Arguments) throws(CommandLineError) {
    var options = Options()
    var sessionsLimit: Int?
    let first = try Name.parse(
      count: count, arguments: arguments,
      shared: { (option: TLSHelperOptions.Option, value) throws(CommandLineError) in try options.helper.accept(option, value) }
    ) { (option, value) throws(CommandLineError) in
      switch option {
      case .notification:
        // 0 means none.
        let number = try option.number(value)
        options.notification = number == 0 ? nil : try Options.descriptor(value, of: "--\(option.form.name)")
      case .keep: options.keepsEnvironment = true
      case .noKeep: options.keepsEnvironment = false
      case .listen: options.listening = value
      case .maxSessions: sessionsLimit = try option.number(value)
      case .help: options.purpose = .help
      case .version: options.purpose = .version
      }
    }
    if let sessionsLimit { options.sessionsLimit = sessionsLimit }
    if options.purpose == .serve, sessionsLimit != nil, options.listening == nil {
      throw CommandLineError("--max-sessions can be used only with --listen; see --help")
    }
    if options.purpose == .serve, options.listening != nil {
      guard first == Int(count), options.notification == nil else {
        throw CommandLineError("--listen takes neither descriptors nor a program; see --help")
      }
    } else if options.purpose == .serve, first < Int(count), let word = arguments[first], !Options.isNumber(word) {
      guard options.notification == nil else { throw CommandLineError("-d cannot be used with a program; see --help") }
      options.program = arguments + first
    } else if options.purpose == .serve {
      guard Int(count) - first == 2, let reading = arguments[first], let writing = arguments[first + 1] else {
        throw CommandLineError("two descriptors are needed, fdr and fdw; see --help")
      }
      options.reading = try Options.descriptor(String(cString: reading), of: "fdr")
      options.writing = try Options.descriptor(String(cString: writing), of: "fdw")
    }
    self = options
  }

  /// True if it begins as a number: no program is meant.
  private static func isNumber(_ word: UnsafePointer<CChar>) -> Bool {
    switch UInt8(bitPattern: word[0]) {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "+"), UInt8(ascii: "-"), 0: true
    default: false
    }
  }

  /// Creates the defaults.
  init() {}

  /// The number of a descriptor other than the standard streams.
  private static func descriptor(_ text: String, of what: String) throws(CommandLineError) -> CInt {
    guard let number = CInt(text), number >= 3, text.utf8.first != UInt8(ascii: "+") else {
      throw CommandLineError("\(what) must be the number of a descriptor, at least 3")
    }
    return number
  }
}
