// OptionsText: the options as a list for getopt and as a page for the reader.

import ProgramSupport
import Transport

extension Options {
  private static let help = """
    usage: starttls-proxy [options] prog...
           starttls-proxy --check [options] prog...
    Executes prog, an SMTP server on standard input and output, and stands between it and the client as a process of its
    own. On STARTTLS the client goes to the UCSPI-TLS helper, and prog speaks to it inside TLS; on MAIL in clear the helper
    is sent away. Runs under ucspi-tlsd, s6-ucspitlsd or sslserver -n; stands in for smtpd-starttls-proxy-io.

    Run --check once, as the user and with the environment that prog will have, before you serve: prog gets a socket pair
    in place of the client's connection, and a program that takes whoever is there for a local user is an open relay.

          --check                    start prog once, offer it mail to another domain from a stranger, and print its
                                     reply: exit code 0 refused, 100 an open relay, or not known; 111 does not work
          --trusting-backend         execute exim, sendmail and Postfix's programs, which trust their descriptor, although
                                     exim is not given the client's address with -oMa
      -p, --policy POLICY            opportunistic, or required: 530 to all that needs TLS (default opportunistic)
      -P, --protocol PROTOCOL        smtp or lmtp (default smtp)
      -a, --allow-cleartext-auth     offer and forward AUTH in clear, where the policy is opportunistic
      -b, --tolerate-bare-lf         accept lines that end with LF alone; only if prog accepts them too, in message text
                                     as well (default: 500)
      -H, --helper KIND              what the end of the control socket means: s6, no TLS; ucspi-ssl, the end of prog, so
                                     that prog keeps the socket; auto, ucspi-ssl where SSLREMOTEIP is set (default auto)
      -v, --verbosity N              0 quiet, 1 a line a session, and failures, 2 also decisions (default 1)

    limits:
      -l, --max-line N               octets of a client's line (default 2048)
      -L, --max-reply-line N         octets of a line of prog's (default 2048)
      -n, --max-reply-lines N        lines of a reply (default 128)
      -o, --max-outstanding N        commands whose replies are owed (default 64)
      -j, --max-junk N               lines that are no commands; inside TLS all that are refused here (default 10)
      -m, --max-commands N           commands before TLS or MAIL (default 100)
      -x, --max-chunk N              octets of an unasked BDAT (default 65536)

    timers, in milliseconds:
      -g, --greeting-timeout MS      for prog's greeting (default 60000)
      -c, --command-timeout MS       for a client's next command (default 300000)
      -r, --reply-timeout MS         for a reply of prog's (default 300000)
      -R, --reset-timeout MS         for prog's answer to RSET before TLS (default 30000)
      -K, --handshake-timeout MS     for the handshake; the helper's report may come 5000 later (default 30000)
      -C, --clear-phase-timeout MS   for everything before MAIL or STARTTLS (default 600000)
      -t, --idle-timeout MS          while fewer than 64 octets move between client and prog (default 660000)
      -O, --output-timeout MS        while the client takes fewer than 4096 octets of its output (default 300000)
      -T, --session-timeout MS       for the whole session; 0: no limit (default 86400000, a day)

          --help, --version          print this text or the version

    environment: SSLCTLFD, SSLREADFD and SSLWRITEFD, the channels to the helper; TCPREMOTEIP and the like, for the log
    exit codes: 100 usage, or prog would be an open relay, 111 system failure, 126 or 127 prog cannot be executed or is not there, else prog's

    """

  static let text = ProgramText(name: "starttls-proxy", help: help)

  static let list: InlineArray<26, CommandLineOption> = [
    CommandLineOption("p", "policy", takesValue: true),
    CommandLineOption("P", "protocol", takesValue: true),
    CommandLineOption("a", "allow-cleartext-auth"),
    CommandLineOption("b", "tolerate-bare-lf"),
    CommandLineOption("H", "helper", takesValue: true),
    CommandLineOption("v", "verbosity", takesValue: true),
    CommandLineOption("l", "max-line", takesValue: true),
    CommandLineOption("L", "max-reply-line", takesValue: true),
    CommandLineOption("n", "max-reply-lines", takesValue: true),
    CommandLineOption("o", "max-outstanding", takesValue: true),
    CommandLineOption("j", "max-junk", takesValue: true),
    CommandLineOption("m", "max-commands", takesValue: true),
    CommandLineOption("x", "max-chunk", takesValue: true),
    CommandLineOption("g", "greeting-timeout", takesValue: true),
    CommandLineOption("c", "command-timeout", takesValue: true),
    CommandLineOption("r", "reply-timeout", takesValue: true),
    CommandLineOption("R", "reset-timeout", takesValue: true),
    CommandLineOption("K", "handshake-timeout", takesValue: true),
    CommandLineOption("C", "clear-phase-timeout", takesValue: true),
    CommandLineOption("t", "idle-timeout", takesValue: true),
    CommandLineOption("O", "output-timeout", takesValue: true),
    CommandLineOption("T", "session-timeout", takesValue: true),
    CommandLineOption(nil, "check"),
    CommandLineOption(nil, "trusting-backend"),
    CommandLineOption(nil, "help"),
    CommandLineOption(nil, "version"),
  ]
}
