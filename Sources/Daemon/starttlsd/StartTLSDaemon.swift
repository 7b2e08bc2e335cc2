// StartTLSDaemon: the command line.

import ArgumentParser
import Glibc
import Logging
import ProgramSupport
import SMTPState
import Transport
import TransportTLS

/// `starttlsd [options] [-- program arguments...]`
struct StartTLSDaemon: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "starttlsd",
    abstract: "Puts STARTTLS in front of an SMTP server that has no TLS.",
    discussion: """
      Each connection gets a process of the program, which speaks SMTP on its standard input and output. Behind STARTTLS it \
      gets a new one, with SSL_PROTOCOL and SSL_CIPHER in its environment. A program that accepts mail for any domain from \
      anybody, such as exim -bs, which takes every client for a local user, is found out and refused. Without a program, and \
      without a certificate, a self-signed one and maildir-smtpd serve on the loopback addresses.
      """,
    version: "starttlsd \(Version.text)")

  enum PolicyName: String, ExpressibleByArgument, CaseIterable { case opportunistic, required }
  enum ProtocolName: String, ExpressibleByArgument, CaseIterable { case smtp, lmtp }

  @Option(name: .shortAndLong, help: ArgumentHelp("Where to listen; may be said again.", valueName: "address:port"))
  var listen: [String] = []

  @Option(help: "Whether mail may go on without TLS.")
  var policy = PolicyName.opportunistic

  @Option(name: .customLong("protocol"), help: "What the program speaks.")
  var mailProtocol = ProtocolName.smtp

  @Option(help: ArgumentHelp("The certificate and its chain, PEM or DER; may be said again, with a key each.", valueName: "file"))
  var certificate: [String] = []

  @Option(help: ArgumentHelp("The certificate's private key, PEM or DER.", valueName: "file"))
  var key: [String] = []

  @Option(help: ArgumentHelp("Where the embedded default keeps its certificate and its mail.", valueName: "folder"))
  var stateFolder: String?

  @Option(help: ArgumentHelp("Where the embedded default delivers to [state folder/Maildir].", valueName: "folder"))
  var maildir: String?

  @Flag(help: "Serve a program that accepts mail for any domain from anybody, without asking it.")
  var trustingBackend = false

  @Option(
    name: .customLong("backend-environment"),
    help: ArgumentHelp("A variable that programs get beside PATH, LANG and TZ; may be repeated.", valueName: "name"))
  var backendVariables: [String] = []

  @Flag(help: "Offer and forward AUTH in clear, where the policy is opportunistic.")
  var allowCleartextAuth = false

  @Flag(
    help: "Accept lines that end with LF alone. Only if the backend accepts them too, in message text as well.")
  var tolerateBareLf = false

  @Option(help: ArgumentHelp("How many sessions at a time.", valueName: "number"))
  var maxConnections = 1000

  @Option(
    help: ArgumentHelp(
      "How many server processes at a time, those included that outlive their session; reckoned from the system's limits.",
      valueName: "number"))
  var maxBackends: Int?

  @Option(help: ArgumentHelp("For sessions to end behind SIGTERM.", valueName: "seconds"))
  var grace = 30

  @Option(help: ArgumentHelp("For a backend to end behind its session.", valueName: "seconds"))
  var backendGrace = 60

  @Option(help: ArgumentHelp("For the server's greeting.", valueName: "seconds"))
  var greetingTimeout: Int?

  @Option(help: ArgumentHelp("For a client's next command.", valueName: "seconds"))
  var commandTimeout: Int?

  @Option(help: ArgumentHelp("For a reply of the server.", valueName: "seconds"))
  var replyTimeout: Int?

  @Option(help: ArgumentHelp("For the TLS handshake.", valueName: "seconds"))
  var handshakeTimeout: Int?

  @Option(help: ArgumentHelp("For everything before MAIL or STARTTLS.", valueName: "seconds"))
  var clearPhaseTimeout: Int?

  @Option(help: ArgumentHelp("Idle timeout while relaying: fewer than 64 octets moved.", valueName: "seconds"))
  var idleTimeout: Int?

  @Option(help: ArgumentHelp("Limit of a whole session, 0 for none [86400].", valueName: "seconds"))
  var sessionTimeout: Int?

  @Argument(parsing: .postTerminator, help: ArgumentHelp("The server program and its arguments.", valueName: "program"))
  var program: [String] = []

  /// Runs the daemon; the exit code is 0 once it was told to stop.
  func run() throws {
    Signals.prepare()
    let queue = try LogQueue()
    defer { queue.finish() }
    let log = Logger(label: "starttlsd") { _ in QueuedLogHandler(queue) }
    let configuration = try checked()
    if !trustingBackend { try configuration.refuseOpenRelay(log) }
    let daemon = try Daemon(configuration, log: log, queue: queue)
    try daemon.run()
  }

  /// Everything that was said, checked.
  private func checked() throws(ConfigurationError) -> Configuration {
    let isEmbedded = program.isEmpty && certificate.isEmpty && key.isEmpty
    let certificates = try certificates(isEmbedded)
    return Configuration(
      policy: try checkedPolicy(), timeouts: try checkedTimeouts(), listeners: try addresses(),
      backend: try backend(isEmbedded), credentials: try credentials(certificates), certificates: certificates,
      connectionsLimit: try positive(maxConnections, "--max-connections"), backendsLimit: try checkedBackends(),
      graceMilliseconds: try seconds(grace, "--grace", orZero: true),
      backendGraceMilliseconds: try seconds(backendGrace, "--backend-grace", orZero: true))
  }

  private func checkedPolicy() throws(ConfigurationError) -> SMTPSession.Policy {
    var policy = SMTPSession.Policy()
    policy.security = self.policy == .required ? .required : .opportunistic
    policy.mailProtocol = mailProtocol == .lmtp ? .lmtp : .smtp
    policy.bareLineFeed = tolerateBareLf ? .tolerate : .reject
    policy.allowsCleartextAuthentication = allowCleartextAuth
    if allowCleartextAuth && self.policy == .required {
      throw .usage("--allow-cleartext-auth makes no sense with --policy required: choose one")
    }
    if let greetingTimeout { policy.greetingTimeoutMilliseconds = try seconds(greetingTimeout, "--greeting-timeout") }
    if let commandTimeout { policy.commandTimeoutMilliseconds = try seconds(commandTimeout, "--command-timeout") }
    if let replyTimeout { policy.replyTimeoutMilliseconds = try seconds(replyTimeout, "--reply-timeout") }
    if let handshakeTimeout { policy.handshakeTimeoutMilliseconds = try seconds(handshakeTimeout, "--handshake-timeout") }
    if let clearPhaseTimeout {
      policy.clearPhaseTimeoutMilliseconds = try seconds(clearPhaseTimeout, "--clear-phase-timeout")
    }
    return policy
  }

  private func checkedTimeouts() throws(ConfigurationError) -> SessionDriver.Timeouts {
    var timeouts = SessionDriver.Timeouts()
    if let idleTimeout { timeouts.relayIdleMilliseconds = try seconds(idleTimeout, "--idle-timeout") }
    if let sessionTimeout {
      timeouts.sessionMilliseconds = try seconds(sessionTimeout, "--session-timeout", orZero: true)
    }
    return timeouts
  }

  private func addresses() throws(ConfigurationError) -> [SocketAddress] {
    var addresses: [SocketAddress] = []
    for text in listen.isEmpty ? ["127.0.0.1:2525", "[::1]:2525"] : listen {
      do {
        addresses += try SocketAddress.resolving(text)
      } catch {
        throw .usage("--listen \(text): \(error)")
      }
    }
    return addresses
  }

  private func backend(_ isEmbedded: Bool) throws(ConfigurationError) -> Backend {
    let environment = try Environment.backend(backendVariables)
    if isEmbedded {
      let folder = try state()
      let arguments = try EmbeddedDefault.backend(maildir: maildir ?? folder + "/Maildir")
      return .program(arguments: arguments, environment: environment)
    }
    guard let name = program.first else {
      throw .usage("there is a certificate but no server: name a program that speaks SMTP behind --")
    }
    guard stateFolder == nil, maildir == nil else {
      throw .usage("--state-folder and --maildir belong to the embedded default, which has neither program nor certificate")
    }
    guard isExecutable(name) else { throw .usage("\(name) cannot be executed: name a server program behind --") }
    return .program(arguments: program, environment: environment)
  }

  private func checkedBackends() throws(ConfigurationError) -> Int? {
    guard let maxBackends else { return nil }
    guard maxBackends > 1, maxBackends <= 1_000_000 else {
      throw .usage("--max-backends \(maxBackends): give a number, 2 to 1000000: a session may have two for a moment")
    }
    return maxBackends
  }

  private func certificates(_ isEmbedded: Bool) throws(ConfigurationError) -> CertificateFiles {
    var pairs: [TLSCredentials.Pair] = []
    if isEmbedded {
      pairs = [try EmbeddedDefault.certificate(in: try state())]
    } else {
      guard !certificate.isEmpty else {
        throw .usage("there is no certificate: name one with --certificate and its key with --key")
      }
      guard certificate.count == key.count else {
        throw .usage("\(certificate.count) --certificate and \(key.count) --key: each certificate needs its key, in order")
      }
      for (certificate, key) in zip(certificate, key) {
        pairs.append(TLSCredentials.Pair(certificate: certificate, key: key))
      }
    }
    return CertificateFiles(pairs: pairs)
  }

  private func credentials(_ files: CertificateFiles) throws(ConfigurationError) -> TLSCredentials {
    do {
      return try files.load()
    } catch {
      throw .usage("\(error)")
    }
  }

  private func state() throws(ConfigurationError) -> String {
    guard let stateFolder else { return try EmbeddedDefault.stateFolder() }
    guard !stateFolder.isEmpty else { throw .usage("--state-folder is empty: name a folder") }
    if stateFolder.hasPrefix("/") { return stateFolder }
    var path = [CChar](repeating: 0, count: 4096)
    guard getcwd(&path, path.count) != nil else { throw .system("getcwd: \(SystemError.last("getcwd"))") }
    return String(decoding: path.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self) + "/" + stateFolder
  }

  private func isExecutable(_ name: String) -> Bool {
    if name.contains("/") { return isExecutableFile(name) }
    let folders = (EmbeddedDefault.variable("PATH") ?? "/bin:/usr/bin").split(separator: ":", omittingEmptySubsequences: false)
    return folders.contains { isExecutableFile("\($0.isEmpty ? "." : $0)/\(name)") }
  }

  /// A folder, too, has the permission that access(2) asks for.
  private func isExecutableFile(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG && access(path, X_OK) == 0
  }

  private func positive(_ number: Int, _ name: String) throws(ConfigurationError) -> Int {
    guard number > 0, number <= 1_000_000 else { throw .usage("\(name) \(number): give a number, 1 to 1000000") }
    return number
  }

  private func seconds(_ number: Int, _ name: String, orZero: Bool = false) throws(ConfigurationError) -> Int {
    guard number > 0 || number == 0 && orZero, number <= 1_000_000 else {
      throw .usage("\(name) \(number): give a number of seconds, 1 to 1000000")
    }
    return number * 1000
  }
}
