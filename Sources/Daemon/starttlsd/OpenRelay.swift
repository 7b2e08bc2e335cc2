// OpenRelay: tests before listening if the backend would relay mail for unknown clients.
//
// The program is started as for a session in clear and as for a session inside TLS. A program that relays only inside
// TLS, because it treats the client as authenticated there, is an open relay as well.

import ClientAccess
import Logging
import RelayProbe
import SMTPState
import Transport

extension Configuration {
  /// Throws if the backend is an open relay, if it does not work, or if the result is not conclusive.
  func refuseOpenRelay(_ log: Logger) throws {
    switch backend {
    case .program(let arguments, _):
      let findings = try probe()
      for finding in findings { try judge(finding, arguments) }
      for finding in Set(findings) {
        switch finding {
        case .defers: log.warning("\(arguments[0]) \(finding)")
        case .refuses, .accepts, .untried, .broken: log.info("\(arguments[0]) \(finding)")
        }
      }
    }
  }

  /// What the access rule of the client 192.0.2.1, which stands for all unknown ones, sets for the program.
  private var probedVariables: [String] {
    guard let client = try? SocketAddress(parsing: "192.0.2.1:25"), let rule = accessRules?.rule(for: client), rule.isAllowed
    else { return [] }
    return rule.variables
  }

  /// How the backend treats mail from an unknown client, in clear and inside TLS.
  private func probe() throws(SystemError) -> [RelayFinding] {
    switch backend {
    case .program(let arguments, let inherited):
      let connection = Environment.adding(probedVariables, to: inherited) + RelayProbe.connection(localPort: localPort)
      let facts = TLSFacts(version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256", serverName: nil)
      let sessions = [connection, connection + Environment.tls(facts)]
      let programs = sessions.map {
        RelayProbe.Program(arguments: arguments, environment: $0, setting: privileges.setting)
      }
      let isLMTP = policy.mailProtocol == .lmtp
      return privileges.own != nil || privileges.needsStarter
        ? try ProbeProcess.run(programs, isLMTP: isLMTP, privileges) : try RelayProbe.run(programs, isLMTP: isLMTP)
    }
  }

  private func judge(_ finding: RelayFinding, _ arguments: [String]) throws(ConfigurationError) {
    let program = arguments[0]
    switch finding {
    case .refuses, .defers: return
    case .accepts:
      let remedy = RelayFinding.remedy(for: KnownProgram.trusting(arguments))
      throw .usage("\(program) \(finding); \(remedy), or give --trusting-backend if that is intended")
    case .untried:
      throw .usage("\(program) \(finding); give --trusting-backend if you know that it is not an open relay")
    case .broken:
      throw .system("\(program) \(finding)")
    }
  }
}
