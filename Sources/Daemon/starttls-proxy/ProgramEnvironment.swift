// ProgramEnvironment: the environment of the server program.
//
// The server program must not use the helper itself, and must not get a wrong variable about TLS. Variables that name
// the channels, enable STARTTLS, or describe a TLS session are removed. All other variables stay, including the
// addresses.

import Glibc
import Transport

/// The environment of this process, which becomes the server program's.
enum ProgramEnvironment {
  /// Removes the variables that are not for the server program.
  static func clean() {
    ProcessEnvironment.remove { variable in
      variable.isNamed("SSLCTLFD") || variable.isNamed("SSLREADFD") || variable.isNamed("SSLWRITEFD")
        || variable.isNamed("UCSPITLS") || variable.hasPrefix("SSL_") || variable.hasPrefix("TLS_")
    }
  }

  /// Removes the variables of a connection; a probe sets its own.
  static func cleanConnection() {
    ProcessEnvironment.remove { variable in
      variable.isNamed("PROTO") || variable.hasPrefix("TCPREMOTE") || variable.hasPrefix("TCPLOCAL")
    }
  }

  /// True if ucspi-ssl's sslserver has started this process. It has its own names for the addresses.
  static var isOfUCSPISSL: Bool {
    ProcessEnvironment.characters("SSLREMOTEIP") != nil && ProcessEnvironment.characters("SSLLOCALIP") != nil
  }
}
