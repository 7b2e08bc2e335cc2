// Configuration: the checked settings of the daemon. Nothing starts before all of them are valid.

import ClientAccess
import Glibc
import SMTPState
import Transport
import TransportTLS

/// The settings that sessions and the event loop use, read-only once the daemon runs.
struct Configuration {
  var policy: SMTPSession.Policy
  /// What TLS accepts.
  var priorities: TLSPriorities
  var timeouts: SessionDriver.Timeouts
  var listeners: [ListeningAddress]
  /// What a service manager passed; then there are no `listeners`.
  var passedDescriptors: PassedDescriptors
  var backend: Backend
  /// nil without --learn-greeting.
  var learning: LearnSettings?
  /// nil without --spare-backends.
  var spares: SpareSettings?
  /// True if the program is not given the client's address (--backend-client none).
  var hidesClient: Bool
  /// The source of the credentials.
  var certificates: CertificateFiles
  /// The folder of the self-signed certificate, which the start creates; nil with a certificate of the operator's.
  var selfSignedFolder: String?
  var connectionsLimit: Int
  /// nil: computed from the system's limits.
  var backendsLimit: Int?
  /// Networks whose connections begin with a PROXY header.
  var fronts: [IPNetwork]
  /// The limits of one address.
  var addressLimits: AddressLimits
  /// 0: no wait.
  var greetingWaitMilliseconds: Int
  /// The rules, as they were at the start, and their file; nil without rules.
  var accessFile: AccessFile?
  var accessRules: AccessRules?
  var statusSocket: String?
  var metrics: SocketAddress?
  var graceMilliseconds: Int
  var backendGraceMilliseconds: Int
  var privileges: Privileges
  var sandbox: Sandbox
  /// True if the client that a super-server passed (--inetd) begins with TLS.
  var isClientImplicit: Bool
  /// True if no process of their own holds the private keys.
  var hasKeyInProcess: Bool
  /// What signs with RSA keys in the process of the keys.
  var rsaSigner: RSASignerChoice
  /// nil if no session is recorded.
  var record: RecordSettings?
}

extension Configuration {
  /// True if another process starts the server program, so that no session waits for a start and the sandbox is possible. A process
  /// with one connection (--inetd) starts the program itself where it can.
  var hasStarter: Bool { backend.servers == nil && (passedDescriptors.client == nil || privileges.needsStarter) }

  /// For the operator: TLS must not be required where other mail servers deliver (RFC 3207, section 4). nil elsewhere.
  var warningOfPort: String? {
    let ports = listeners.filter { !$0.isImplicit }.map(\.address.port) + passedDescriptors.sockets.filter { !$0.isImplicit }.map(\.address.port)
    guard policy.security == .required, policy.mailProtocol == .smtp, ports.contains(25) else { return nil }
    return """
      --policy required on port 25: RFC 3207 forbids it for a public server; mail of servers without TLS will bounce. Use opportunistic \
      there, and required for submission and for peers that you know
      """
  }

  /// The port of the first address, for the program's environment; 0 if there is none.
  var localPort: UInt16 {
    let client = passedDescriptors.client.flatMap { try? InheritedSocket.localAddress(of: $0) }
    return (listeners.first?.address ?? passedDescriptors.sockets.first?.address ?? client)?.port ?? 0
  }
}

/// An address to listen on.
struct ListeningAddress {
  let address: SocketAddress
  /// True if its clients begin with TLS (RFC 8314, 3.3).
  let isImplicit: Bool
  /// True for `[::]` beside `0.0.0.0` with the same port.
  private(set) var isIPv6Only = false
  var option: String { isImplicit ? "--listen-tls" : "--listen" }

  /// Listens. A Unix socket at which nobody listens is replaced: a process that was killed has left it.
  func listen() throws(SystemError) -> Listener {
    try SocketFile.removeStale(of: address)
    return try Listener(address, isIPv6Only: isIPv6Only)
  }
}

extension ListeningAddress {
  init(_ address: SocketAddress, isImplicit: Bool) {
    self.address = address
    self.isImplicit = isImplicit
  }

  /// Why it is not possible to listen, and what to do.
  ///
  /// - Parameter replaced: a socket of this program that keeps the address occupied until a change is complete.
  func failure(_ error: SystemError, replacing replaced: SocketAddress? = nil) -> ConfigurationError {
    let advice =
      if error.code == EADDRINUSE, let replaced {
        "starttlsd itself still listens on \(replaced), and only a start can replace that: restart starttlsd, or write \(replaced) again"
      } else if error.code == EACCES && address.port != nil {
        "start starttlsd as root with --user, or let a service manager pass the socket"
      } else {
        "choose another with \(option)"
      }
    return .system("cannot listen on \(address): \(error); \(advice)")
  }

  /// The addresses of one listener. Alone, `[::]` takes IPv4 clients too, and then the kernel does not give its port to `0.0.0.0`.
  static func beside(_ addresses: [ListeningAddress]) -> [ListeningAddress] {
    addresses.map { address in
      var address = address
      if let port = address.address.port, port != 0, address.address == .any(port: port) {
        address.isIPv6Only = addresses.contains { $0.address == .anyIPv4(port: port) }
      }
      return address
    }
  }

  /// `[::]`, which takes IPv4 clients too, and the two addresses that do the same; nil for an address that is not `[::]` in either form.
  var forms: (one: ListeningAddress, two: [ListeningAddress])? {
    guard let port = address.port, port != 0, address == .any(port: port) else { return nil }
    var ofIPv6 = self
    ofIPv6.isIPv6Only = true
    return (ListeningAddress(address, isImplicit: isImplicit), [ListeningAddress(.anyIPv4(port: port), isImplicit: isImplicit), ofIPv6])
  }

  /// True if the kernel does not let both listen, unless one is `[::]` for IPv6 alone.
  func overlaps(_ other: SocketAddress) -> Bool {
    guard let port = address.port, port == other.port else { return false }
    let hasAll = [address, other].contains { $0 == .any(port: port) }
    let hasAllOfFamily = address.hasSameFamily(as: other) && [address, other].contains { $0 == .anyIPv4(port: port) }
    return address == other || hasAll || hasAllOfFamily
  }
}

/// The server for which the daemon accepts connections.
enum Backend {
  /// A program, started once per session and again after the handshake. The session's variables are added to this
  /// environment.
  case program(arguments: [String], environment: [String])
  /// Servers that are connected to, once per session and again after the handshake.
  case servers(BackendServers)

  /// nil for a program.
  var servers: BackendServers? {
    if case .servers(let servers) = self { servers } else { nil }
  }
}

/// An error in the command line or in what it refers to: one line that states what to do, and the class of the exit
/// code.
struct ConfigurationError: Error, CustomStringConvertible {
  let description: String
  let code: Int32

  static func usage(_ text: String) -> ConfigurationError { ConfigurationError(description: text, code: ExitCode.usage) }
  static func system(_ text: String) -> ConfigurationError { ConfigurationError(description: text, code: ExitCode.system) }
  /// A service manager may try again if a name cannot be looked up at the moment.
  static func of(_ error: AddressError, _ text: String) -> ConfigurationError { error.isTemporary ? system(text) : usage(text) }
}
