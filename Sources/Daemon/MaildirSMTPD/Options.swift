// Options: the command line.
//
//     maildir-smtpd [options] MAILDIR
//
// Options end at the first operand (POSIX). Failure: a CommandLineError, whose text is one line.

public import ProgramSupport

/// The settings from the command line.
public struct Options: Hashable, Sendable {
  /// What to do. With `help` and `version` nothing else was checked.
  public var purpose = CommandLinePurpose.serve
  /// The path of the Maildir.
  public var maildir = ""
  /// The domains whose mail is accepted; by default all.
  public var domains = RecipientDomains()
  /// The name of the server; nil: the system's host name.
  public var hostname: String?
  /// Timeout for a command, and for more octets of a message, in seconds (RFC 5321, 4.5.3.2.7: at least 300).
  public var timeout = 300

  /// Creates the defaults, without a Maildir.
  public init() {}
}

extension Options {
  private static let help = """
    usage: maildir-smtpd [options] MAILDIR
    SMTP server on standard input and output, for demonstrations and tests. Delivers every message to MAILDIR, for all
    recipients or, with --domain, only for recipients of these domains. Never relays. Run it under a UCSPI server, inetd,
    or a front end that terminates TLS.

      --domain NAME      accept recipients of this domain only; may be repeated (default: all)
      --hostname NAME    name in the greeting and in header lines (default: the system's)
      --timeout SECONDS  timeout for a command, and for more octets of a message (default 300)
      --help             print this text
      --version          print the version

    exit codes: 0 success, 1 the client disconnected, 99 timeout, 100 usage, 111 system failure

    """

  /// The texts for `--help`, `--version` and usage errors.
  public static let text = ProgramText(name: "maildir-smtpd", help: help)

  private enum Name: Int, ProgramOption {
    case domain, hostname, timeout, help, version

    var form: CommandLineOption {
      switch self {
      case .domain: CommandLineOption(nil, "domain", takesValue: true)
      case .hostname: CommandLineOption(nil, "hostname", takesValue: true)
      case .timeout: CommandLineOption(nil, "timeout", takesValue: true)
      case .help: CommandLineOption(nil, "help")
      case .version: CommandLineOption(nil, "version")
      }
    }
  }

  /// Parses the program's arguments. It uses the global variables of getopt(3): one call at a time.
  public init(count: CInt, arguments: CommandLineOption.Arguments) throws(CommandLineError) {
    var options = Options()
    let first = try Name.parse(count: count, arguments: arguments) { (option, value) throws(CommandLineError) in
      switch option {
      case .domain:
        guard options.domains.add(value) else {
          throw CommandLineError("--domain \(PlainText.escaped(value)): not a domain, such as example.org")
        }
      case .hostname:
        guard HostName.isValid(value) else {
          throw CommandLineError("--hostname \(PlainText.escaped(value)): not a host's name")
        }
        options.hostname = value
      case .timeout: options.timeout = try option.number(value, 1...Int(CInt.max))
      case .help: options.purpose = .help
      case .version: options.purpose = .version
      }
    }
    for index in first..<max(Int(count), first) where options.purpose == .serve {
      guard options.maildir.isEmpty else { throw CommandLineError("more than one Maildir; see --help") }
      options.maildir = arguments[index].map { String(cString: $0) } ?? ""
    }
    guard options.purpose != .serve || !options.maildir.isEmpty else { throw CommandLineError("no Maildir; see --help") }
    self = options
  }
}
