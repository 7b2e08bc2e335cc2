// OptionsText: the options for getopt, and the help text.

import ProgramSupport
import Transport

extension Options {
  private static let help = """
    usage: starttls-proxy [options] prog...
           starttls-proxy --check [options] prog...
    Executes prog, an SMTP server on standard input and output. A separate process of this program relays between the
    client and prog. On STARTTLS the client's connection goes to the UCSPI-TLS helper, and prog continues inside TLS. On
    MAIL in clear the helper is no longer needed. Runs under ucspi-tlsd, s6-ucspitlsd or sslserver -n; replaces
    smtpd-starttls-proxy-io.

    Before you serve, run --check once, as the user and with the environment that prog will have. prog gets a socket pair
    in place of the client's connection: a program that treats its peer as a local user is then an open relay.

          --check                    start prog once, offer it mail from an unknown client to another domain, and print its
                                     reply. Exit codes: 0 refused; 100 open relay or not conclusive; 111 prog failed
          --trusting-backend         execute exim, sendmail and Postfix's programs, which trust their descriptor, even if
                                     exim does not get the client's address with -oMa
      -p, --policy POLICY            opportunistic, or required: reply 530 to commands that need TLS
                                     (default opportunistic)
      -P, --protocol PROTOCOL        smtp or lmtp (default smtp)
      -a, --allow-cleartext-auth     offer and forward AUTH in clear; only with --policy opportunistic
      -b, --tolerate-bare-lf         accept lines that end with LF alone; only if prog accepts them too, also in message
                                     text (default: reply 500)
      -H, --helper KIND              meaning of the end of the control socket: s6, no TLS; ucspi-ssl, the end of prog, so
                                     prog keeps the socket; auto, ucspi-ssl if SSLREMOTEIP is set (default auto)
      -v, --verbosity N              0: quiet, 1: one line per session, and failures, 2: also decisions (default 1)

    limits:
      -l, --max-line N               octets in a client's line (default 2048)
      -L, --max-reply-line N         octets in a reply line of prog (default 2048)
      -n, --max-reply-lines N        lines in a reply of prog (default 128)
      -o, --max-outstanding N        commands whose replies are pending (default 64)
      -j, --max-junk N               lines that are no commands; inside TLS all lines refused here (default 10)
      -m, --max-commands N           commands before TLS or MAIL (default 100)
      -x, --max-chunk N              octets in a BDAT chunk that was not offered (default 65536)

    timeouts, in milliseconds:
      -g, --greeting-timeout MS      for prog's greeting (default 60000)
      -c, --command-timeout MS       for the client's next command (default 300000)
      -r, --reply-timeout MS         for a reply of prog (default 300000)
      -R, --reset-timeout MS         for prog's reply to RSET before TLS (default 30000)
      -K, --handshake-timeout MS     for the handshake; the helper's report may come 5000 later (default 30000)
      -C, --clear-phase-timeout MS   for the whole phase before MAIL or STARTTLS (default 600000)
      -t, --idle-timeout MS          idle timeout while relaying: fewer than 64 octets moved (default 660000)
      -O, --output-timeout MS        for the client to read 4096 octets of pending output (default 300000)
          --end-timeout MS           for the client to read the rest of the output after the end of prog (default 60000)
      -T, --session-timeout MS       for the whole session; 0: no limit (default 86400000, one day)

          --help, --version          print this text or the version

    environment: SSLCTLFD, SSLREADFD and SSLWRITEFD, the channels to the helper; TCPREMOTEIP and related variables, for
    the log
    exit codes: 100 usage, or prog would be an open relay, 111 system failure, 126 prog cannot be executed, 127 prog does
    not exist, else prog's

    """

  static let text = ProgramText(name: "starttls-proxy", help: help)

  enum Name: Int, ProgramOption {
    case policy, mailProtocol, allowCleartextAuthentication, tolerateBareLineFeed, helper, verbosity
    case maxLine, maxReplyLine, maxReplyLines, maxOutstanding, maxJunk, maxCommands, maxChunk
    case greetingTimeout, commandTimeout, replyTimeout, resetTimeout, handshakeTimeout, clearPhaseTimeout
    case idleTimeout, outputTimeout, endTimeout, sessionTimeout
    case check, trustingBackend, help, version

    var form: CommandLineOption {
      switch self {
      case .policy: CommandLineOption("p", "policy", takesValue: true)
      case .mailProtocol: CommandLineOption("P", "protocol", takesValue: true)
      case .allowCleartextAuthentication: CommandLineOption("a", "allow-cleartext-auth")
      case .tolerateBareLineFeed: CommandLineOption("b", "tolerate-bare-lf")
      case .helper: CommandLineOption("H", "helper", takesValue: true)
      case .verbosity: CommandLineOption("v", "verbosity", takesValue: true)
      case .maxLine: CommandLineOption("l", "max-line", takesValue: true)
      case .maxReplyLine: CommandLineOption("L", "max-reply-line", takesValue: true)
      case .maxReplyLines: CommandLineOption("n", "max-reply-lines", takesValue: true)
      case .maxOutstanding: CommandLineOption("o", "max-outstanding", takesValue: true)
      case .maxJunk: CommandLineOption("j", "max-junk", takesValue: true)
      case .maxCommands: CommandLineOption("m", "max-commands", takesValue: true)
      case .maxChunk: CommandLineOption("x", "max-chunk", takesValue: true)
      case .greetingTimeout: CommandLineOption("g", "greeting-timeout", takesValue: true)
      case .commandTimeout: CommandLineOption("c", "command-timeout", takesValue: true)
      case .replyTimeout: CommandLineOption("r", "reply-timeout", takesValue: true)
      case .resetTimeout: CommandLineOption("R", "reset-timeout", takesValue: true)
      case .handshakeTimeout: CommandLineOption("K", "handshake-timeout", takesValue: true)
      case .clearPhaseTimeout: CommandLineOption("C", "clear-phase-timeout", takesValue: true)
      case .idleTimeout: CommandLineOption("t", "idle-timeout", takesValue: true)
      case .outputTimeout: CommandLineOption("O", "output-timeout", takesValue: true)
      case .endTimeout: CommandLineOption(nil, "end-timeout", takesValue: true)
      case .sessionTimeout: CommandLineOption("T", "session-timeout", takesValue: true)
      case .check: CommandLineOption(nil, "check")
      case .trustingBackend: CommandLineOption(nil, "trusting-backend")
      case .help: CommandLineOption(nil, "help")
      case .version: CommandLineOption(nil, "version")
      }
    }
  }
}
