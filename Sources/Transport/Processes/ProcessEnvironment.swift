// ProcessEnvironment: the variables of this process, some of which are removed before it executes another program.
//
// Contract: only for a process with one thread. No memory is allocated for variables that stay.

import Glibc

/// The environment of this process.
package enum ProcessEnvironment {
  /// One variable, `NAME=value`.
  package struct Variable {
    fileprivate let text: UnsafePointer<CChar>

    /// True if the variable has this name.
    package func isNamed(_ name: StaticString) -> Bool {
      hasPrefix(name) && text[name.utf8CodeUnitCount] == CChar(bitPattern: UInt8(ascii: "="))
    }

    /// True if the name starts with this prefix.
    package func hasPrefix(_ prefix: StaticString) -> Bool {
      strncmp(text, prefix.characters, prefix.utf8CodeUnitCount) == 0
    }
  }

  /// The value of a variable; nil if it is not set.
  package static func value(_ name: String) -> String? {
    name.withCString { getenv($0) }.map { String(cString: $0) }
  }

  /// The same, as a pointer into the environment, for a name that is known in advance.
  package static func characters(_ name: StaticString) -> UnsafePointer<CChar>? {
    UnsafePointer(getenv(name.characters))
  }

  /// Removes the selected variables, including duplicates.
  package static func remove(_ isChosen: (Variable) -> Bool) {
    var entry = environ
    var kept = environ
    while let text = entry.pointee {
      if !isChosen(Variable(text: text)) {
        kept.pointee = text
        kept += 1
      }
      entry += 1
    }
    kept.pointee = nil
  }

  /// Removes the variables that only a TLS engine needs: the paths of keys and certificates, and its user.
  package static func removeTLSSettings() {
    remove(isTLSSetting)
  }

  /// Removes the variables that describe a TLS session: a program trusts what they say of the client. Two of that form are
  /// settings of OpenSSL, for the program's own connections, and two are settings of the TLS engine.
  package static func removeTLSFacts() {
    remove { variable in
      variable.hasPrefix("SSL_") && !variable.isNamed("SSL_CERT_FILE") && !variable.isNamed("SSL_CERT_DIR")
        || variable.hasPrefix("TLS_") && !variable.isNamed("TLS_UID") && !variable.isNamed("TLS_GID")
    }
  }

  /// The variables that only a TLS engine needs, as `NAME=value`.
  package static var tlsSettings: [String] {
    var settings: [String] = []
    var entry = environ
    while let text = entry.pointee {
      if isTLSSetting(Variable(text: text)) { settings.append(String(cString: text)) }
      entry += 1
    }
    return settings
  }

  private static func isTLSSetting(_ variable: Variable) -> Bool {
    variable.isNamed("CADIR") || variable.isNamed("CAFILE") || variable.isNamed("CRLFILE") || variable.isNamed("CERTFILE")
      || variable.isNamed("KEYFILE") || variable.isNamed("OCSPFILE") || variable.isNamed("TLS_UID") || variable.isNamed("TLS_GID")
      || variable.hasPrefix("CERTFILE:") || variable.hasPrefix("KEYFILE:") || variable.hasPrefix("OCSPFILE:")
  }
}

extension StaticString {
  /// The octets as a C string. A literal always ends with NUL.
  package var characters: UnsafePointer<CChar> {
    UnsafeRawPointer(utf8Start).assumingMemoryBound(to: CChar.self)
  }
}
