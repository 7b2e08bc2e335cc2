// ProgramEnvironment: what the server program finds in its environment.
//
// It must not try to speak to the helper itself, nor believe a word about TLS that is not true: what names the channels,
// switches STARTTLS on, or tells of a TLS session is removed. Everything else stays as it is, the addresses among it.

import Glibc
import Transport

/// The environment of this process, which becomes the server program's.
enum ProgramEnvironment {
  /// Removes what is not the server program's.
  static func clean() {
    ProcessEnvironment.remove { variable in
      variable.isNamed("SSLCTLFD") || variable.isNamed("SSLREADFD") || variable.isNamed("SSLWRITEFD")
        || variable.isNamed("UCSPITLS") || variable.hasPrefix("SSL_") || variable.hasPrefix("TLS_")
    }
  }

  /// Removes what speaks of a connection, in place of which a probe has its own.
  static func cleanConnection() {
    ProcessEnvironment.remove { variable in
      variable.isNamed("PROTO") || variable.hasPrefix("TCPREMOTE") || variable.hasPrefix("TCPLOCAL")
    }
  }

  /// Whether ucspi-ssl's sslserver has started us. It tells the addresses by names of its own.
  static var isOfUCSPISSL: Bool {
    ProcessEnvironment.characters("SSLREMOTEIP") != nil && ProcessEnvironment.characters("SSLLOCALIP") != nil
  }
}
