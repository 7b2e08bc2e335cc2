// Options: the command line.
//
//     tlsd-io [options] [--] fdr fdw
//
// Failure: a CommandLineError, whose text is one line.

import ProgramSupport
import Transport

/// What the program is called with.
struct Options {
  var purpose = CommandLinePurpose.serve
  var helper = TLSHelperOptions()
  /// Where the session is to be reported; nil: nowhere.
  var notification: CInt?
  /// The descriptor that is read for what goes into TLS.
  var reading: CInt = -1
  /// The descriptor that gets what comes out of TLS.
  var writing: CInt = -1

  private static let help = """
    usage: tlsd-io [options] fdr fdw
    Is the TLS server of the client on standard input and output: what the client says is written to fdw, what is read
    from fdr goes to the client. TLS 1.2 and 1.3. Exchangeable with s6-tlsd-io.

      -S, --close-notify            say the server's end with close_notify
      -s, --no-close-notify         end the TCP direction only (default)
      -J, --enforce-close-notify    a client's end without close_notify is an error: exit 98
      -j, --no-enforce-close-notify it is none (default)
      -Y, --client-cert             ask the client for a certificate
      -y, --mandatory-client-cert   and refuse it without
      -k, --sni-level N             1: also CERTFILE:name and KEYFILE:name, 2: only these (default 0)
          --sni, --mandatory-sni    -k 1, -k 2
      -K, --handshake-timeout MS    limit of the handshake in milliseconds; 0: none (default 30000)
      -T, --session-timeout MS      limit of the whole session in milliseconds; 0: none (default 86400000, a day)
      -d, --notification-fd N       report the session there behind the handshake: NAME=value strings, then an empty one
      -v, --verbosity N             0 quiet, 1 failures, 2 also successes (default 1)
          --help, --version         print this text or the version

    environment: CERTFILE and KEYFILE (PEM files) or CERTFILE:name and KEYFILE:name; CADIR or CAFILE with -y and -Y;
    TLS_UID and TLS_GID: the user and group to become, once the keys are read, when started by root
    exit codes: 0 done, 96 certificate or key, 97 set-up of TLS, 98 TLS, 100 usage, 111 system failure

    """

  static let text = ProgramText(name: "tlsd-io", help: help)

  private static let list: InlineArray<3, CommandLineOption> = [
    CommandLineOption("d", "notification-fd", takesValue: true),
    CommandLineOption(nil, "help"),
    CommandLineOption(nil, "version"),
  ]

  /// Reads the command line.
  init(count: CInt, arguments: CommandLineOption.Arguments) throws(CommandLineError) {
    var options = Options()
    let first = try CommandLineOption.parse(
      Options.list.span, shared: TLSHelperOptions.list.span, count: count, arguments: arguments
    ) { (name, value) throws(CommandLineError) in
      switch name {
      case "notification-fd":
        // 0 stands for none.
        let number = try CommandLineOption.number(value, of: name)
        options.notification = number == 0 ? nil : try Options.descriptor(value, of: "--\(name)")
      case "help": options.purpose = .help
      case "version": options.purpose = .version
      default: _ = try options.helper.accept(name, value)
      }
    }
    if options.purpose == .serve {
      guard Int(count) - first == 2, let reading = arguments[first], let writing = arguments[first + 1] else {
        throw CommandLineError("two descriptors are needed, fdr and fdw; see --help")
      }
      options.reading = try Options.descriptor(String(cString: reading), of: "fdr")
      options.writing = try Options.descriptor(String(cString: writing), of: "fdw")
    }
    self = options
  }

  /// The defaults.
  init() {}

  /// A descriptor's number, not one of the standard streams.
  private static func descriptor(_ text: String, of what: String) throws(CommandLineError) -> CInt {
    guard let number = CInt(text), number >= 3, text.utf8.first != UInt8(ascii: "+") else {
      throw CommandLineError("\(what) must be the number of a descriptor, at least 3")
    }
    return number
  }
}
