// Options: the command line.
//
//     maildir-smtpd [options] MAILDIR
//
// Options end at the first operand (POSIX). Failure: a UsageError, whose text is one line.

internal import CKernel
import Glibc
import ProgramSupport
import Transport

/// The settings from the command line.
public struct Options: Hashable, Sendable {
  /// What to do.
  public enum Purpose: Hashable, Sendable {
    /// Run a session.
    case serve
    /// Print the help text.
    case help
    /// Print the version.
    case version
  }

  /// What to do. With `help` and `version` nothing else was checked.
  public var purpose = Purpose.serve
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

/// A command line with an error.
public struct UsageError: Error, Hashable, Sendable, CustomStringConvertible {
  /// One line that states the error.
  public let description: String
}

extension Options {
  /// The program's version.
  public static let version = "maildir-smtpd \(Version.text)\n"

  /// What `--help` prints.
  public static let help = """
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

  /// The long options; their values are the return values of getopt.
  private enum Name: CInt, CaseIterable {
    case sizeLimit = 256
    case recipientsLimit, domain, hostname, commandTimeout, dataTimeout, help, version
    case maildir = 100  // also -d

    var text: StaticString {
      switch self {
      case .sizeLimit: "size-limit"
      case .recipientsLimit: "recipients-limit"
      case .domain: "domain"
      case .hostname: "hostname"
      case .commandTimeout: "command-timeout"
      case .dataTimeout: "data-timeout"
      case .help: "help"
      case .version: "version"
      case .maildir: "maildir"
      }
    }

    var takesValue: Bool { self != .help && self != .version }
  }

  /// Parses the program's arguments. It uses the global variables of getopt(3): one call at a time.
  public static func parse(
    count: CInt, arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
  ) throws(UsageError) -> Options {
    var options = Options()
    var table = Name.allCases.map { name in
      option(
        name: UnsafeRawPointer(name.text.utf8Start).assumingMemoryBound(to: CChar.self),
        has_arg: name.takesValue ? required_argument : no_argument, flag: nil, val: name.rawValue)
    }
    table.append(option(name: nil, has_arg: 0, flag: nil, val: 0))
    kernel_set_optind(0)
    kernel_set_opterr(0)
    while true {
      let index = max(1, kernel_optind())
      let answer = kernel_getopt_long(count, arguments, "+:d:", table, nil)
      if answer == -1 { break }
      let word = argument(index, of: count, in: arguments)
      if answer == CInt(UInt8(ascii: ":")) { throw UsageError(description: "\(word) needs a value; see --help") }
      guard let name = Name(rawValue: answer) else {
        throw UsageError(description: "\(word) is not an option; see --help")
      }
      let value = kernel_optarg().map { String(cString: $0) } ?? ""
      switch name {
      case .maildir: options.maildir = value
      case .sizeLimit: options.sizeLimit = try number(value, for: name, atLeast: 0)
      case .recipientsLimit: options.recipientsLimit = try number(value, for: name, atLeast: 1)
      case .domain:
        guard options.domains.add(value) else {
          throw UsageError(description: "--domain \(PlainText.escaped(value)): not a domain, such as example.org")
        }
      case .hostname: options.hostname = value
      case .commandTimeout: options.commandTimeout = try number(value, for: name, atLeast: 1)
      case .dataTimeout: options.dataTimeout = try number(value, for: name, atLeast: 1)
      case .help:
        options.purpose = .help
        return options
      case .version:
        options.purpose = .version
        return options
      }
    }
    for index in kernel_optind()..<max(count, kernel_optind()) {
      guard options.maildir.isEmpty else { throw UsageError(description: "more than one Maildir; see --help") }
      options.maildir = argument(index, of: count, in: arguments)
    }
    guard !options.maildir.isEmpty else { throw UsageError(description: "no Maildir; see --help") }
    if let hostname = options.hostname, !HostName.isValid(hostname) {
      throw UsageError(description: "--hostname \(PlainText.escaped(hostname)): not a host's name")
    }
    return options
  }

  private static func argument(
    _ index: CInt, of count: CInt, in arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
  ) -> String {
    guard 0 <= index, index < count, let word = arguments[Int(index)] else { return "" }
    return String(cString: word)
  }

  private static func number(_ text: String, for name: Name, atLeast least: Int) throws(UsageError) -> Int {
    guard let number = Int(text), number >= least, text.utf8.allSatisfy(\.isDigit) else {
      throw UsageError(
        description: "--\(name.text) \(PlainText.escaped(text)): not a whole number of at least \(least)")
    }
    return number
  }
}
