// UCSPIEnvironment: what a UCSPI-TLS helper reports about the TLS session.
//
// Wire format: `NAME=value` strings, each terminated by NUL, then one more NUL; without any string it is two NULs. A
// name without `=` means that the variable is not set. The reader stops at the double NUL and does not wait for the end
// of file, because some helpers keep the socket open. An end of file before it means that there is no TLS.
//
// The content comes from the peer in the end: only names about TLS are used, and the size is limited to 64 KiB.
//
// Source: ucspi-tls(2), Gifford and Brady.

/// The variables that a UCSPI-TLS helper reports.
package struct UCSPIEnvironment: Hashable, Sendable {
  /// One variable.
  package struct Variable: Hashable, Sendable {
    /// Its name; not empty, without `=` and NUL.
    package let name: String
    /// Its value, without NUL; nil: the variable must not be set.
    package let value: String?

    /// Creates a variable; nil if the name or the value cannot be expressed.
    package init?(_ name: String, _ value: String?) {
      guard !name.isEmpty, !name.utf8.contains(where: { $0 == 0 || $0 == UInt8(ascii: "=") }),
        value?.utf8.contains(0) != true
      else { return nil }
      self.name = name
      self.value = value
    }

    /// True if a program may put the variable into its own environment: `SSL_` or `TLS_`, then only capital letters,
    /// digits and `_`. The names that select a helper's user are excluded.
    package var isImportable: Bool {
      guard name.hasPrefix("SSL_") || name.hasPrefix("TLS_"), name != "TLS_UID", name != "TLS_GID" else { return false }
      return name.utf8.allSatisfy {
        switch $0 {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"): true
        default: false
        }
      }
    }
  }

  /// The maximum number of octets of an environment on the wire, including the double NUL.
  package static let sizeLimit = 65_536

  /// The variables, in the order in which they were reported.
  package private(set) var variables: [Variable] = []

  /// Creates an empty environment.
  package init() {}

  /// Adds a variable. A variable that cannot be expressed is left out.
  package mutating func append(_ name: String, _ value: String?) {
    if let variable = Variable(name, value) { variables.append(variable) }
  }

  /// The wire format, or nil if it is larger than `sizeLimit`.
  package var octets: [UInt8]? {
    var octets: [UInt8] = []
    for variable in variables {
      octets += variable.name.utf8
      if let value = variable.value {
        octets.append(UInt8(ascii: "="))
        octets += value.utf8
      }
      octets.append(0)
    }
    if octets.isEmpty { octets.append(0) }
    octets.append(0)
    return octets.count <= UCSPIEnvironment.sizeLimit ? octets : nil
  }
}

/// Reads an environment in pieces, as they arrive on the control socket.
///
/// ```swift
/// var reader = UCSPIEnvironmentReader()
/// switch reader.receive(octets) {
/// case .incomplete: break                     // read on; an end of file now means that TLS failed
/// case .complete(let environment): ...        // do not wait for an end of file
/// case .refused: ...                          // give the session up
/// }
/// ```
package struct UCSPIEnvironmentReader: Sendable {
  /// The result of the octets so far.
  package enum Progress: Hashable, Sendable {
    /// The double NUL has not come yet.
    case incomplete
    /// The environment. Octets after the double NUL were ignored.
    case complete(UCSPIEnvironment)
    /// It is larger than 64 KiB, or a string is empty or begins with `=`.
    case refused
  }

  private var environment = UCSPIEnvironment()
  private var string: [UInt8] = []
  private var count = 0
  /// True if the previous octet was a NUL. An environment without strings consists of two NULs.
  private var isAfterNUL = false
  private var answer = Progress.incomplete

  /// Creates a reader that has read nothing.
  package init() {}

  /// Reads the next octets. Once the result is other than `.incomplete`, it stays the same. Octets that are not valid
  /// UTF-8 are replaced in the strings.
  package mutating func receive(_ octets: some Sequence<UInt8>) -> Progress {
    for octet in octets {
      guard case .incomplete = answer else { break }
      count += 1
      if count > UCSPIEnvironment.sizeLimit {
        answer = .refused
      } else if octet != 0 {
        if string.isEmpty && isAfterNUL && environment.variables.isEmpty { answer = .refused }
        string.append(octet)
      } else if !string.isEmpty {
        endString()
      } else if isAfterNUL {
        answer = .complete(environment)
      }
      isAfterNUL = octet == 0
    }
    return answer
  }

  private mutating func endString() {
    let parts = string.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
    let texts = parts.map { String(decoding: $0, as: UTF8.self) }
    string.removeAll(keepingCapacity: true)
    if let variable = UCSPIEnvironment.Variable(texts[0], texts.count == 2 ? texts[1] : nil) {
      environment.append(variable.name, variable.value)
    } else {
      answer = .refused
    }
  }
}
