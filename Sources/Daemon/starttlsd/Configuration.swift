// Configuration: what the daemon was told, checked. Nothing starts before all of it is good.

import SMTPState
import Transport
import TransportTLS

/// Everything that a session or the loop needs to know, read-only once the daemon runs.
struct Configuration {
  var policy: SMTPSession.Policy
  var timeouts: SessionDriver.Timeouts
  var listeners: [SocketAddress]
  var backend: Backend
  var credentials: TLSCredentials
  /// Where the credentials came from, to load them anew.
  var certificates: CertificateFiles
  var connectionsLimit: Int
  /// nil: reckoned from the system's limits.
  var backendsLimit: Int?
  var graceMilliseconds: Int
  var backendGraceMilliseconds: Int
}

/// Who serves.
enum Backend {
  /// A program, started once per session (and once more behind the handshake), with the session's variables added to this environment.
  case program(arguments: [String], environment: [String])
}

/// What is wrong with the command line or with what it names: one line that says what to do, and the exit code's class.
struct ConfigurationError: Error, CustomStringConvertible {
  let description: String
  let code: Int32

  static func usage(_ text: String) -> ConfigurationError { ConfigurationError(description: text, code: ExitCode.usage) }
  static func system(_ text: String) -> ConfigurationError { ConfigurationError(description: text, code: ExitCode.system) }
}
