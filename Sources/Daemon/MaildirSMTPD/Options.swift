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
  /// The maximum size of a message in octets; 0: no limit.
  public var sizeLimit = 52_428_800
  /// The maximum number of recipients of a message.
  public var recipientsLimit = 100
  /// The domains whose mail is accepted; by default all.
  public var domains = RecipientDomains()
  /// The name of the server; nil: the system's host name.
  public var hostname: String?
  /// Timeout for a command, in seconds (RFC 5321, 4.5.3.2.7: at least 300).
  public var commandTimeout = 300
  /// Timeout for more octets of a message, in seconds (RFC 5321, 4.5.3.2.5: at least 180).
  public var dataTimeout = 300

  /// Creates the defaults, without a Maildir.
  public init() {}
}

extension Options {
  private static let help = """
    usage: maildir-smtpd [options] MAILDIR
    SMTP server on standard input and output. Delivers every message to MAILDIR, for all recipients or, with --domain, only
    for recipients of these domains. Never relays. Run it under a UCSPI server, inetd, or a front end that terminates TLS.

      -d, --maildir PATH          the Maildir, instead of the operand
          --size-limit OCTETS     maximum size of a message; 0: no limit (default 52428800)
          --domain NAME           accept recipients of this domain only; may be repeated (default: all)
          --recipients-limit N    maximum number of recipients of a message (default 100)
          --hostname NAME         name in the greeting and in header lines (default: the system's)
          --command-timeout SECS  timeout for a command, in seconds (default 300)
          --data-timeout SECS     timeout for more octets of a message, in seconds (default 300)
          --help                  print this text
          --version               print the version

    exit codes: 0 success, 1 the client disconnected, 99 timeout, 100 usage, 111 system failure

    """

  /// The texts for `--help`, `--version` and usage errors.
  public static let text = ProgramText(name: "maildir-smtpd", help: help)

  private enum Name: Int, ProgramOption {
    case maildir, sizeLimit, recipientsLimit, domain, hostname, commandTimeout, dataTimeout, help, version

    var form: CommandLineOption {
      switch self {
      case .maildir: CommandLineOption("d", "maildir", takesValue: true)
      case .sizeLimit: CommandLineOption(nil, "size-limit", takesValue: true)
      case .recipientsLimit: CommandLineOption(nil, "recipients-limit", takesValue: true)
      case .domain: CommandLineOption(nil, "domain", takesValue: true)
      case .hostname: CommandLineOption(nil, "hostname", takesValue: true)
      case .commandTimeout: CommandLineOption(nil, "command-timeout", takesValue: true)
      case .dataTimeout: CommandLineOption(nil, "data-timeout", takesValue: true)
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
      case .maildir: options.maildir = value
      case .sizeLimit: options.sizeLimit = try option.number(value, 0...Int.max)
      case .recipientsLimit: options.recipientsLimit = try option.number(value, 1...Int(CInt.max))
      case .domain:
        guard options.domains.add(value) else {
          throw CommandLineError("--domain \(PlainText.escaped(value)): not a domain, such as example.org")
        }
      case .hostname:
        guard HostName.isValid(value) else {
          throw CommandLineError("--hostname \(PlainText.escaped(value)): not a host's name")
        }
        options.hostname = value
      case .commandTimeout: options.commandTimeout = try option.number(value, 1...Int(CInt.max))
      case .dataTimeout: options.dataTimeout = try option.number(value, 1...Int(CInt.max))
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
