// Helpers: the forked processes of starttlsd, before the event loop exists.
//
// They are started before the addresses are bound. No key is in the memory of this process then, and none comes into it
// after, except with --key-in-process. If starttlsd ends, their connections are closed, and they end.

import ClientAccess
import Transport
import TransportTLS

struct Helpers: ~Copyable {
  let reader: ForkedProcess
  /// nil if the keys are in this process.
  let keys: KeyConnection?
  let starter: ForkedProcess?
  /// nil if the server is a program, and for one client (--inetd).
  let connector: ForkedProcess?
  /// nil if no session is recorded.
  let recorder: ForkedProcess?

  /// - Parameter configuration: has the files that the reader may read, and what the starter may start.
  static func start(_ configuration: Configuration) throws(ConfigurationError) -> Helpers {
    let files = configuration.certificates
    let recorder: ForkedProcess? =
      if let record = configuration.record { try RecordingProcess.start(record, configuration.privileges) } else { nil }
    do {
      let rules = configuration.accessFile
      let program = configuration.learning?.path ?? configuration.spares?.path
      let pairOfNames = try MessageSocket.pair()
      let hasNames = configuration.hasStarter && rules != nil && !configuration.privileges.needsStarter
      let names = hasNames ? (end: pairOfNames.first.number, rules: RuleVariables(configuration)) : nil
      let starterNames = hasNames ? pairOfNames.second.number : nil
      guard !configuration.hasKeyInProcess else {
        let reader = try CertificateReader.start(files, rules: rules, program: program, keys: nil, names: names)
        return Helpers(
          reader: reader, keys: nil, starter: try starter(configuration, starterNames), connector: try connector(configuration),
          recorder: recorder)
      }
      let pair = try MessageSocket.pair()
      // First, so that the one that strangers' octets never reach has no copy of anything else.
      let keys = try KeyProcess.start(loader: pair.first.number, configuration.rsaSigner)
      let reader = try CertificateReader.start(files, rules: rules, program: program, keys: pair.second.number, names: names)
      let connection = try KeyConnection(keys)
      try connection.rsa.check(configuration.rsaSigner)
      return Helpers(
        reader: reader, keys: connection, starter: try starter(configuration, starterNames), connector: try connector(configuration),
        recorder: recorder)
    } catch let error as ConfigurationError {
      throw error
    } catch {
      throw .system("cannot start a process: \(error)")
    }
  }

  /// The credentials of the start.
  borrowing func credentials(_ files: CertificateFiles) throws(ConfigurationError) -> TLSCredentials {
    if let keys { return try ReceivedFiles.first(files, keys, reader) }
    do {
      return try files.load()
    } catch {
      throw files.refused(error)
    }
  }

  private static func connector(_ configuration: Configuration) throws(SystemError) -> ForkedProcess? {
    guard let servers = configuration.backend.servers, configuration.passedDescriptors.client == nil else { return nil }
    let connections = configuration.connectionsLimit * (configuration.passedDescriptors.worker?.count ?? 1)
    return try Connector.start(servers, configuration.privileges, configuration.sandbox, connections: connections)
  }

  /// - Parameter names: the connection from the reader, which the new process owns; nil without one.
  private static func starter(_ configuration: Configuration, _ names: CInt?) throws(SystemError) -> ForkedProcess? {
    let privileges = configuration.privileges
    guard configuration.hasStarter else { return nil }
    switch configuration.backend {
    case .program(let arguments, let environment):
      let program = StartedProgram(
        arguments: arguments, environment: environment, rules: RuleVariables(configuration), setting: privileges.setting,
        limit: try ResourceLimits.programs(configuration))
      return try Starter.start(program, privileges, descriptors: ResourceLimits.starterLimit(program), names: names)
    case .servers: return nil
    }
  }
}
