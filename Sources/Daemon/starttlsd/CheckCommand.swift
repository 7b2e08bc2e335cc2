// CheckCommand: `starttlsd check` checks everything that starttlsd checks before it serves, and prints what it finds.
//
// It binds no address, so that it can be used while starttlsd runs. Failure: one line, and the exit code that starttlsd
// would have.

import ArgumentParser
import ClientAccess
import Logging

struct CheckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "starttlsd check",
    abstract: "Checks the options, the certificates and the server program of starttlsd, without serving.",
    discussion: "It takes the options of starttlsd. The exit code is 0, or that with which starttlsd would end.")

  @OptionGroup var daemon: StartTLSDaemon

  func run() throws {
    Signals.prepare()
    if let file = daemon.fileOptions.config {
      for listener in try ConfigurationOptions.listeners(file, daemon.serviceManager) {
        print("listener \(listener.name):")
        do {
          var daemon = try StartTLSDaemon.parse(listener.arguments)
          daemon.workerOptions.workers = .number(listener.workers)
          try CheckCommand.check(daemon)
        } catch let error as ConfigurationError {
          throw ConfigurationError(description: "\(file), listener \(listener.name): \(error.description)", code: error.code)
        }
      }
    } else {
      try CheckCommand.check(daemon)
    }
    print("no fault found")
  }

  /// Checks one command line.
  private static func check(_ daemon: StartTLSDaemon) throws {
    let configuration = try daemon.checked(try PassedDescriptors.take(daemon.serviceManager, listen: daemon.listen + daemon.implicit.listenTLS))
    let log = Logger(label: "starttlsd") { _ in PrintedLogHandler() }
    for listener in configuration.listeners {
      print("listen on \(listener.address)\(listener.isImplicit ? " with TLS from the start" : "")")
    }
    if let warning = configuration.warningOfPort { print(warning) }
    if let file = configuration.accessFile, let rules = configuration.accessRules {
      print("\(rules.count) access rules from \(file.path)")
      for warning in file.warnings(rules, hasProgram: configuration.backend.servers == nil) { print("warning: \(warning)") }
    }
    print(configuration.priorities.summary)
    if let warning = configuration.priorities.warning { print("warning: \(warning)") }
    for line in configuration.privileges.lines { print(line) }
    if let record = configuration.record {
      // It writes nothing, and ends with its socket.
      _ = try RecordingProcess.start(record, configuration.privileges)
      print("recordings in \(record.folder)")
    }
    try daemon.keyOptions.checkKeyLog()
    let signer = configuration.hasKeyInProcess ? RSASignerChoice.gnutls : configuration.rsaSigner
    for line in try CertificatesCommand.lines(configuration.certificates, selfSigned: configuration.selfSignedFolder, signer) { print(line) }
    if daemon.trustingBackend {
      print("the server program is not tested (--trusting-backend)")
    } else {
      try configuration.refuseOpenRelay(log)
    }
  }
}

extension Privileges {
  /// For the operator: who runs as which user.
  fileprivate var lines: [String] {
    func text(_ identity: Identity) -> String {
      let groups = identity.groups.map { "\($0)" }.joined(separator: " ")
      return "user \(identity.name) (\(identity.user)), group \(identity.group), groups \(groups)"
    }
    var lines: [String] = []
    if let own { lines.append("serve as \(text(own))") }
    if let backend { lines.append("start the server program as \(text(backend))") }
    return lines
  }
}

/// Prints the text of each line of the log.
private struct PrintedLogHandler: LogHandler {
  var logLevel = Logger.Level.info
  var metadata: Logger.Metadata = [:]

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) { print("\(event.message)") }
}
