// OpenRelay: tests before listening if the backend would relay mail for unknown clients.
//
// A program is started as for a session in clear and as for a session inside TLS; a server that is reached by an address is
// connected to in both ways. A server that relays only inside TLS, because it treats the client as authenticated there, is an open
// relay as well. With --backend-client none, a server sees connections from this machine, which many servers trust.

import ClientAccess
import Logging
import RelayProbe
import SMTPState
import Transport

extension Configuration {
  /// Throws if the backend is an open relay, if it does not work, or if the result is not conclusive.
  func refuseOpenRelay(_ log: Logger) throws {
    if case .transparent = backend.servers?.client {
      // Nothing can be received in the place of a client that does not exist.
      return log.info("the servers are not tested: they see each client's own address (--backend-client transparent)")
    }
    for (name, findings) in try probe() {
      for finding in findings { try judge(finding, name) }
      for finding in Set(findings) {
        switch finding {
        case .defers: log.warning("\(name) \(finding)")
        case .refuses, .accepts, .untried, .broken: log.info("\(name) \(finding)")
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
  private func probe() throws(SystemError) -> [(name: String, findings: [RelayFinding])] {
    let facts = TLSFacts(version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256", serverName: nil)
    let isLMTP = policy.mailProtocol == .lmtp
    switch backend {
    case .program(let arguments, let inherited):
      let client = hidesClient ? Environment.unnamed : RelayProbe.connection(localPort: localPort)
      let connection = Environment.adding(probedVariables, to: inherited) + client
      // A process that is started before its client is known is the same inside TLS.
      let sessions = spares == nil ? [connection, connection + Environment.tls(facts)] : [connection]
      let programs = sessions.map {
        RelayProbe.Program(arguments: arguments, environment: $0, setting: privileges.setting)
      }
      let findings = privileges.own != nil || privileges.needsStarter
        ? try ProbeProcess.run(programs, isLMTP: isLMTP, privileges) : try RelayProbe.run(programs, isLMTP: isLMTP)
      return [(arguments[0], findings)]
    case .servers(let servers):
      let headers = [nil, facts].map { servers.probedHeader(tls: $0, localPort: localPort) }
      let probed = servers.addresses.flatMap { address in headers.map { RelayProbe.Server(address: address, header: $0) } }
      let findings = try RelayProbe.run(probed, isLMTP: isLMTP)
      return servers.addresses.enumerated().map { index, address in
        ("the server at \(address)", Array(findings[(index * headers.count)..<((index + 1) * headers.count)]))
      }
    }
  }

  private func judge(_ finding: RelayFinding, _ name: String) throws(ConfigurationError) {
    switch finding {
    case .refuses, .defers: return
    case .accepts: throw .usage("\(name) \(finding); \(remedy), or give --trusting-backend if that is intended")
    case .untried:
      throw .usage("\(name) \(finding); give --trusting-backend if you know that it is not an open relay")
    case .broken:
      throw .system("\(name) \(finding)")
    }
  }

  /// What the operator can do about a server that relays.
  private var remedy: String {
    switch backend {
    case .program where hidesClient:
      "it is not given the client's address: remove --backend-client none, or restrict the domains that it accepts mail for"
    case .program(let arguments, _): RelayFinding.remedy(for: KnownProgram.trusting(arguments))
    case .servers(let servers):
      switch servers.client {
      case .unnamed: "it trusts this machine: let it learn the client's address with --backend-client proxy-v2, or do not let it trust this machine"
      case .proxyV1, .proxyV2, .transparent: "restrict the domains that it accepts mail for"
      }
    }
  }
}

extension BackendServers {
  /// The header of a session with the probe's client.
  fileprivate func probedHeader(tls: TLSFacts?, localPort: UInt16) -> [UInt8] {
    let client = SocketAddress.ipv4(SIMD4(192, 0, 2, 1), port: 49_152)
    let local = SocketAddress.ipv4(SIMD4(192, 0, 2, 2), port: localPort == 0 ? 25 : localPort)
    return header(from: client, to: local, tls: tls, identifier: "relay-probe") ?? []
  }
}
