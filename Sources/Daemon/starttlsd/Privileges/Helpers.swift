// Helpers: the forked processes of starttlsd, before the event loop exists.
//
// They are started before the keys are read, so that their copies of the memory have no key, and before the addresses are
// bound. If starttlsd ends, their connections are closed, and they end.

import ClientAccess
import Transport

struct Helpers: ~Copyable {
  let reader: ForkedProcess
  let starter: ForkedProcess?

  /// - Parameter configuration: has the files that the reader may read, and what the starter may start.
  static func start(_ configuration: Configuration) throws(ConfigurationError) -> Helpers {
    do throws(SystemError) {
      let reader = try CertificateReader.start(configuration.certificates, rules: configuration.accessFile?.path)
      return Helpers(reader: reader, starter: try starter(configuration))
    } catch {
      throw .system("cannot start a process: \(error)")
    }
  }

  private static func starter(_ configuration: Configuration) throws(SystemError) -> ForkedProcess? {
    let privileges = configuration.privileges
    guard privileges.needsStarter else { return nil }
    switch configuration.backend {
    case .program(let arguments, let environment):
      let program = StartedProgram(
        arguments: arguments, environment: environment, ruleSettings: configuration.accessRules?.settings ?? [], setting: privileges.setting)
      return try Starter.start(program, privileges)
    case .servers: return nil
    }
  }
}
