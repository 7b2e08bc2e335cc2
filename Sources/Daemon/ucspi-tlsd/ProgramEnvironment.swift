// ProgramEnvironment: what the server program finds in its environment.
//
// Where keys and certificates are is the TLS engine's business alone; by default the server program does not see it.
// The numbers of the channels are what UCSPI-TLS is made of. Everything else stays as it is.

import Glibc
import Transport

/// The environment of this process, which becomes the server program's.
enum ProgramEnvironment {
  /// Removes what is meant for the TLS engine.
  static func clean() {
    // Collected first: removing a variable moves those behind it.
    var names: [String] = []
    var entry = environ
    while let string = entry.pointee {
      names.append(String(String(cString: string).prefix { $0 != "=" }))
      entry += 1
    }
    for name in names where isForEngine(name) { unsetenv(name) }
  }

  /// Says which numbers the channels have.
  static func announce(_ ends: borrowing ChannelEnds) throws(SystemError) {
    for (name, number) in [
      ("SSLCTLFD", ends.control.number), ("SSLREADFD", ends.reading.number), ("SSLWRITEFD", ends.writing.number),
    ] {
      guard setenv(name, "\(number)", 1) == 0 else { throw SystemError.last("setenv") }
    }
  }

  private static func isForEngine(_ name: String) -> Bool {
    switch name {
    case "CADIR", "CAFILE", "CERTFILE", "KEYFILE", "TLS_UID", "TLS_GID": true
    default: name.hasPrefix("CERTFILE:") || name.hasPrefix("KEYFILE:")
    }
  }
}
