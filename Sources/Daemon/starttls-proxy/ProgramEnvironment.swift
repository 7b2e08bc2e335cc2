// ProgramEnvironment: what the server program finds in its environment.
//
// It must not try to speak to the helper itself, nor believe a word about TLS that is not true: what names the channels,
// switches STARTTLS on, or tells of a TLS session is removed. Everything else stays as it is, the addresses among it.

import Glibc
import Transport

/// The environment of this process, which becomes the server program's.
enum ProgramEnvironment {
  /// The value of a variable.
  static func value(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

  /// Removes what is not the server program's.
  static func clean() {
    // Collected first: removing a variable moves those behind it.
    var names: [String] = []
    var entry = environ
    while let string = entry.pointee {
      names.append(String(String(cString: string).prefix { $0 != "=" }))
      entry += 1
    }
    for name in names where isAboutTLS(name) { unsetenv(name) }
  }

  private static func isAboutTLS(_ name: String) -> Bool {
    name == "UCSPITLS" || UCSPIChannels.variables.contains(name) || name.hasPrefix("SSL_") || name.hasPrefix("TLS_")
  }

  /// Whether ucspi-ssl's sslserver has started us. It tells the addresses by names of its own.
  static var isOfUCSPISSL: Bool { value("SSLREMOTEIP") != nil && value("SSLLOCALIP") != nil }
}
