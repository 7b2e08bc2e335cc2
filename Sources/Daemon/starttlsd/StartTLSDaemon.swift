// StartTLSDaemon: the command line of starttlsd. Failure: a ConfigurationError, whose text is one line.

import ArgumentParser
import ClientAccess
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
      starttlsd starts the program once per connection. The program speaks SMTP on its standard input and output. After \
      STARTTLS a new process of the program is started, with SSL_PROTOCOL and SSL_CIPHER in its environment. Before it \
      listens, starttlsd tests the program and refuses one that accepts mail for any domain from any client, such as \
      exim -bs, which treats every client as a local user. Without a program and a certificate, starttlsd creates a \
      self-signed certificate and runs maildir-smtpd on the loopback addresses.

      starttlsd check OPTIONS checks the options, the certificates and the program without serving. starttlsd certificates \
      prints the certificates and their TLSA records. starttlsd config FILE checks a configuration file. starttlsd status prints the \
      state of a running daemon. Each has its own --help.
      """,
    version: "starttlsd \(Version.text)")

  /// The addresses without --listen.
  static let defaultAddresses = ["127.0.0.1:2525", "[::1]:2525"]

  enum PolicyName: String, ExpressibleByArgument, CaseIterable { case opportunistic, required }
  enum ProtocolName: String, ExpressibleByArgument, CaseIterable { case smtp, lmtp }

  @OptionGroup(title: "Configuration file") var fileOptions: ConfigurationOptions
  @OptionGroup(title: "Service managers") var serviceManager: ServiceManagerOptions
  @OptionGroup(title: "Workers") var workerOptions: WorkerOptions
  @OptionGroup(title: "Log and status") var logging: LogOptions
  @OptionGroup(title: "Recordings") var recordOptions: RecordOptions

  @Option(name: .shortAndLong, help: ArgumentHelp("Address to listen on; may be repeated.", valueName: "address:port"))
  var listen: [String] = []

  @OptionGroup(title: "TLS from the start") var implicit: ImplicitOptions

  @Option(help: "opportunistic: mail without TLS is allowed; required: it is refused.")
  var policy = PolicyName.opportunistic

  @Option(name: .customLong("protocol"), help: "Protocol of the server program.")
  var mailProtocol = ProtocolName.smtp

  @OptionGroup(title: "Certificates") var certificateOptions: CertificateOptions
  @OptionGroup(title: "Certificates of clients") var clientOptions: ClientCertificateOptions
  @OptionGroup(title: "Resumption of TLS sessions") var ticketOptions: TicketOptions

  @OptionGroup(title: "TLS") var tlsOptions: TLSOptions

  @Option(help: ArgumentHelp("Folder of the certificate and the mail, if no program is given.", valueName: "folder"))
  var stateFolder: String?

  @Option(help: ArgumentHelp("Maildir for the mail, if no program is given [state folder/Maildir].", valueName: "folder"))
  var maildir: String?

  @Flag(help: "Serve a program that accepts mail for any domain from any client; it is not tested.")
  var trustingBackend = false

  @Option(
    name: .customLong("backend-environment"),
    help: ArgumentHelp("Variable passed to the program, besides PATH, LANG and TZ; may be repeated.", valueName: "name"))
  var backendVariables: [String] = []

  @Flag(help: "Offer and forward AUTH in clear; only with --policy opportunistic.")
  var allowCleartextAuth = false

  @Flag(
    help: "Accept lines that end with LF alone. Only if the program accepts them too, also in message text.")
  var tolerateBareLf = false

  @OptionGroup(title: "Start when needed") var learnOptions: LearnOptions
  @OptionGroup(title: "Spare processes") var spareOptions: SpareOptions
  @OptionGroup(title: "Servers by address") var backendOptions: BackendOptions
  @OptionGroup(title: "Fronts") var frontOptions: FrontOptions
  @OptionGroup(title: "Private keys") var keyOptions: KeyOptions
  @OptionGroup(title: "Users and limits") var privileges: PrivilegeOptions

  @Option(help: ArgumentHelp("Maximum number of concurrent sessions.", valueName: "number"))
  var maxConnections = 1000

  @Option(
    help: ArgumentHelp(
      "Maximum number of concurrent server processes, including those whose session has ended [from system limits].",
      valueName: "number"))
  var maxBackends: Int?

  @OptionGroup(title: "Limits of one address") var limitOptions: LimitOptions
  @OptionGroup(title: "Access rules") var accessOptions: AccessOptions

  @Option(help: ArgumentHelp("Seconds to let sessions finish after SIGTERM.", valueName: "seconds"))
  var grace = 30

  @Option(help: ArgumentHelp("Seconds to let a server process finish after its session.", valueName: "seconds"))
  var backendGrace = 60

  @Option(help: ArgumentHelp("Timeout for the server's greeting [60].", valueName: "seconds"))
  var greetingTimeout: Int?

  @Option(help: ArgumentHelp("Timeout for the client's next command [300].", valueName: "seconds"))
  var commandTimeout: Int?

  @Option(help: ArgumentHelp("Timeout for a reply of the server [300].", valueName: "seconds"))
  var replyTimeout: Int?

  @Option(help: ArgumentHelp("Timeout for the TLS handshake [30].", valueName: "seconds"))
  var handshakeTimeout: Int?

  @Option(help: ArgumentHelp("Timeout for the whole phase before MAIL or STARTTLS [600].", valueName: "seconds"))
  var clearPhaseTimeout: Int?

  @Option(help: ArgumentHelp("Idle timeout while relaying: fewer than 64 octets moved [660].", valueName: "seconds"))
  var idleTimeout: Int?

  @Option(help: ArgumentHelp("Timeout for a whole session; 0 means none [86400].", valueName: "seconds"))
  var sessionTimeout: Int?

  @Argument(parsing: .postTerminator, help: ArgumentHelp("Server program and its arguments.", valueName: "program"))
  var program: [String] = []

  /// Runs the daemon; the exit code is 0 after a stop by a signal.
  func run() throws {
    Signals.prepare()
    if let file = fileOptions.config { return try ConfigurationOptions.run(file, serviceManager) }
    if let settings = try workerOptions.supervised(self) { return try Supervisor.run([settings]) }
    let isOneForBlockingSocket = !serviceManager.inetd && workerOptions.isOneForBlockingSocket
    // Before anything is opened.
    let passedDescriptors = try PassedDescriptors.take(serviceManager, listen: listen + implicit.listenTLS)
    let notification = try ServiceNotification(serviceManager, passedDescriptors)
    let queue = try LogQueue(logging)
    defer { queue.finish() }
    let log = Logger(label: "starttlsd") { _ in QueuedLogHandler(queue) }
    if isOneForBlockingSocket { log.notice("one process serves, since the service manager passed a blocking socket: set NonBlocking=yes for more workers") }
    let configuration = try checked(passedDescriptors)
    if let folder = configuration.selfSignedFolder { try EmbeddedDefault.makeCertificate(in: folder) }
    let helpers = try Helpers.start(configuration)
    let credentials = try helpers.credentials(configuration.certificates)
    if !trustingBackend { try configuration.refuseOpenRelay(log) }
    let daemon = try Daemon(configuration, credentials, helpers, log: log, queue: queue, notification: notification)
    daemon.keyLog = try keyOptions.keyLog()
    if daemon.keyLog != nil { log.warning("--debug-keylog: whoever reads that file can decrypt all sessions") }
    try configuration.privileges.drop()
    try configuration.checkForeignSource()
    try daemon.run()
  }

  /// Checks all options and arguments. It writes nothing.
  func checked(_ passedDescriptors: PassedDescriptors) throws(ConfigurationError) -> Configuration {
    let servers = try backendOptions.servers(hasProgram: !program.isEmpty)
    let isEmbedded = program.isEmpty && certificateOptions.isEmpty && servers == nil
    let privileges = try privileges.checked(isEmbedded: isEmbedded)
    if servers != nil, privileges.needsStarter || !backendVariables.isEmpty || maxBackends != nil {
      throw .usage("with --backend no program is started: remove the options of the program, such as --backend-user")
    }
    let certificates = try certificates(isEmbedded)
    let access = try accessOptions.rules()
    let policy = try checkedPolicy()
    let fronts = try frontOptions.fronts()
    var limits = try limitOptions.limits(passedDescriptors.worker)
    // One address stands for all clients of a front: their own addresses are limited.
    limits.exempt += fronts
    let backend: Backend =
      if let servers { .servers(servers) } else { try backend(isEmbedded, hasStarter: privileges.needsStarter) }
    return Configuration(
      policy: policy, priorities: try tlsOptions.priorities(policy.security, hasKeyInProcess: keyOptions.keyInProcess), timeouts: try checkedTimeouts(),
      listeners: try addresses(passedDescriptors), passedDescriptors: passedDescriptors, backend: backend, learning: try learning(backend),
      spares: try spares(backend, access?.rules, passedDescriptors.worker), hidesClient: backendOptions.hidesClient, certificates: certificates,
      selfSignedFolder: isEmbedded ? try state() : nil,
      connectionsLimit: try part(positive(maxConnections, "--max-connections"), passedDescriptors),
      backendsLimit: try checkedBackends().map { max(2, part($0, passedDescriptors)) },
      fronts: fronts, addressLimits: limits, greetingWaitMilliseconds: try limitOptions.greetingWaitMilliseconds(),
      accessFile: access?.file, accessRules: access?.rules, statusSocket: try checkedStatusSocket(),
      metrics: try checkedMetrics(),
      graceMilliseconds: try seconds(grace, "--grace", orZero: true),
      backendGraceMilliseconds: try seconds(backendGrace, "--backend-grace", orZero: true),
      privileges: privileges, sandbox: self.privileges.sandbox, isClientImplicit: try implicit.isClientImplicit(serviceManager),
      hasKeyInProcess: keyOptions.keyInProcess, rsaSigner: try keyOptions.rsaSigner(isSingle: passedDescriptors.client != nil),
      record: try recordOptions.settings(passedDescriptors.worker, isSingle: passedDescriptors.client != nil))
  }

  private func checkedPolicy() throws(ConfigurationError) -> SMTPSession.Policy {
    var policy = SMTPSession.Policy()
    policy.security = self.policy == .required ? .required : .opportunistic
    policy.mailProtocol = mailProtocol == .lmtp ? .lmtp : .smtp
    policy.bareLineFeed = tolerateBareLf ? .tolerate : .reject
    policy.allowsCleartextAuthentication = allowCleartextAuth
    if allowCleartextAuth && self.policy == .required {
      throw .usage("--allow-cleartext-auth cannot be used with --policy required: choose one")
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

  /// The part of a limit that this process has, if it is one of several workers.
  private func part(_ limit: Int, _ passedDescriptors: PassedDescriptors) -> Int { passedDescriptors.worker?.part(of: limit) ?? limit }

  func addresses(_ passedDescriptors: PassedDescriptors) throws(ConfigurationError) -> [ListeningAddress] {
    // A program that was given a socket opens none of its own.
    guard passedDescriptors.sockets.isEmpty, passedDescriptors.client == nil, !passedDescriptors.hasOtherSockets else { return [] }
    let texts = listen.isEmpty && implicit.listenTLS.isEmpty ? StartTLSDaemon.defaultAddresses : listen
    return ListeningAddress.beside(
      try ListeningAddress.resolving(texts, isImplicit: false) + ListeningAddress.resolving(implicit.listenTLS, isImplicit: true))
  }

  private func backend(_ isEmbedded: Bool, hasStarter: Bool) throws(ConfigurationError) -> Backend {
    let environment = try Environment.backend(backendVariables)
    if isEmbedded {
      let folder = try state()
      let arguments = try EmbeddedDefault.backend(maildir: maildir ?? folder + "/Maildir")
      return .program(arguments: arguments, environment: environment)
    }
    guard let name = program.first else {
      throw .usage("there is a certificate but no server: name a program that speaks SMTP after -- (in a file: backend-program)")
    }
    guard stateFolder == nil, maildir == nil else {
      throw .usage("--state-folder and --maildir can only be used without a program and a certificate")
    }
    guard let path = executable(name) else { throw .usage("\(name) cannot be executed: name a server program after -- (in a file: backend-program)") }
    // The starter is given a path, so that it does not search.
    return .program(arguments: hasStarter ? [path] + program.dropFirst() : program, environment: environment)
  }

  func checkedStatusSocket() throws(ConfigurationError) -> String? {
    guard let path = logging.statusSocket else { return nil }
    guard !serviceManager.inetd else { throw .usage("--status-socket cannot be used with --inetd: remove one") }
    guard (1...107).contains(path.utf8.count), !path.utf8.contains(0) else {
      throw .usage("--status-socket: the path of a Unix socket has 1 to 107 octets")
    }
    return path
  }

  func checkedMetrics() throws(ConfigurationError) -> SocketAddress? {
    guard let text = logging.metrics else { return nil }
    guard !serviceManager.inetd else { throw .usage("--metrics cannot be used with --inetd: remove one") }
    return try MetricsSocket.address(text)
  }

  private func checkedBackends() throws(ConfigurationError) -> Int? {
    guard let maxBackends else { return nil }
    guard maxBackends > 1, maxBackends <= 1_000_000 else {
      throw .usage("--max-backends \(maxBackends): give a number from 2 to 1000000: a session may need two processes")
    }
    return maxBackends
  }

  private func certificates(_ isEmbedded: Bool) throws(ConfigurationError) -> CertificateFiles {
    var files = CertificateFiles()
    if isEmbedded { files.pairs = [SelfSigned.files(in: try state())] } else { files = try certificateOptions.files() }
    try clientOptions.add(to: &files)
    try ticketOptions.add(to: &files)
    return files
  }

  private func state() throws(ConfigurationError) -> String {
    guard let stateFolder else { return try EmbeddedDefault.stateFolder() }
    guard !stateFolder.isEmpty else { throw .usage("--state-folder is empty: name a folder") }
    if stateFolder.hasPrefix("/") { return stateFolder }
    var path = [CChar](repeating: 0, count: 4096)
    guard getcwd(&path, path.count) != nil else { throw .system("getcwd: \(SystemError.last("getcwd"))") }
    return String(decoding: path.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self) + "/" + stateFolder
  }

  private func learning(_ backend: Backend) throws(ConfigurationError) -> LearnSettings? {
    guard case .program(let arguments, _) = backend else { return try learnOptions.settings(path: nil, isSingle: serviceManager.inetd) }
    return try learnOptions.settings(path: executable(arguments[0]) ?? arguments[0], isSingle: serviceManager.inetd)
  }

  private func spares(_ backend: Backend, _ rules: AccessRules?, _ worker: WorkerRole?) throws(ConfigurationError) -> SpareSettings? {
    var path: String?
    if case .program(let arguments, _) = backend { path = executable(arguments[0]) ?? arguments[0] }
    return try spareOptions.settings(
      path: path, isUnnamed: backendOptions.hidesClient, isSingle: serviceManager.inetd, rules: rules, backendsLimit: maxBackends,
      workers: worker?.count ?? workerOptions.number(self))
  }

  /// The path of an executable program; nil if there is none.
  private func executable(_ name: String) -> String? {
    if name.contains("/") { return isExecutableFile(name) ? name : nil }
    let folders = (EmbeddedDefault.variable("PATH") ?? "/bin:/usr/bin").split(separator: ":", omittingEmptySubsequences: false)
    return folders.map { "\($0.isEmpty ? "." : $0)/\(name)" }.first { isExecutableFile($0) }
  }

  /// The file type is checked as well, because access(2) also succeeds for a folder.
  private func isExecutableFile(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG && access(path, X_OK) == 0
  }

  private func positive(_ number: Int, _ name: String) throws(ConfigurationError) -> Int {
    guard number > 0, number <= 1_000_000 else { throw .usage("\(name) \(number): give a number from 1 to 1000000") }
    return number
  }

  private func seconds(_ number: Int, _ name: String, orZero: Bool = false) throws(ConfigurationError) -> Int {
    guard number > 0 || number == 0 && orZero, number <= 1_000_000 else {
      throw .usage("\(name) \(number): give a number of seconds from \(orZero ? 0 : 1) to 1000000")
    }
    return number * 1000
  }
}
