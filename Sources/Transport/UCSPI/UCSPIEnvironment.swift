// UCSPIEnvironment: what a UCSPI-TLS helper says about the session that it has set up.
//
// On the wire: `NAME=value` strings, each ended by NUL, the whole ended by one NUL more; no string at all is two NULs.
// A name without `=` means that the variable is not set. The reader stops at the double NUL and never waits for the
// end of file, because some helpers keep the socket open. An end of file before it means that there is no TLS.
//
// Everything in it comes from the peer in the end: names are limited to what is about TLS before any is used, and
// the whole to 64 KiB.
//
// Source: ucspi-tls(2), Gifford and Brady.

/// The variables that a UCSPI-TLS helper reports.
public struct UCSPIEnvironment: Hashable, Sendable {
  /// One variable.
  public struct Variable: Hashable, Sendable {
    /// Its name; not empty, without `=` and NUL.
    public let name: String
    /// Its value, without NUL; nil: the variable is not to be set.
    public let value: String?

    /// A variable, or nil when the name or the value cannot be expressed.
    public init?(_ name: String, _ value: String?) {
      guard !name.isEmpty, !name.utf8.contains(where: { $0 == 0 || $0 == UInt8(ascii: "=") }),
        value?.utf8.contains(0) != true
      else { return nil }
      self.name = name
      self.value = value
    }

    /// Whether a program may put the variable into its own environment: `SSL_` or `TLS_`, then capital letters, digits
    /// and `_` only. The names that choose a helper's user are none of them.
    public var isImportable: Bool {
      guard name.hasPrefix("SSL_") || name.hasPrefix("TLS_"), name != "TLS_UID", name != "TLS_GID" else { return false }
      return name.utf8.allSatisfy {
        switch $0 {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"): true
        default: false
        }
      }
    }
  }

  /// The most octets of an environment on the wire, the double NUL included.
  public static let sizeLimit = 65_536

  /// The variables, in the order in which they were reported.
  public private(set) var variables: [Variable] = []

  /// An empty environment.
  public init() {}

  /// Adds a variable. One that cannot be expressed is left out.
  public mutating func append(_ name: String, _ value: String?) {
    if let variable = Variable(name, value) { variables.append(variable) }
  }

  /// The environment on the wire, or nil when it is larger than `sizeLimit`.
  public var octets: [UInt8]? {
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

/// Reads an environment piece by piece, as the control socket brings it.
///
/// ```swift
/// var reader = UCSPIEnvironmentReader()
/// switch reader.receive(octets) {
/// case .incomplete: break                     // read on; an end of file now means that TLS failed
/// case .complete(let environment): ...        // do not wait for an end of file
/// case .refused: ...                          // give the session up
/// }
/// ```
public struct UCSPIEnvironmentReader: Sendable {
  /// What the octets so far come to.
  public enum Progress: Hashable, Sendable {
    /// The double NUL has not come yet.
    case incomplete
    /// The environment. Octets behind the double NUL were ignored.
    case complete(UCSPIEnvironment)
    /// It is larger than 64 KiB, or a string is empty or begins with `=`.
    case refused
  }

  private var environment = UCSPIEnvironment()
  private var string: [UInt8] = []
  private var count = 0
  /// The last octet was a NUL: without any string the double NUL is one by itself.
  private var isBehindNUL = false
  private var answer = Progress.incomplete

  /// A reader that has seen nothing.
  public init() {}

  /// Takes the next octets. Once the answer was another than `.incomplete` it stays the same. Octets that are no UTF-8
  /// are replaced in the strings.
  public mutating func receive(_ octets: some Sequence<UInt8>) -> Progress {
    for octet in octets {
      guard case .incomplete = answer else { break }
      count += 1
      if count > UCSPIEnvironment.sizeLimit {
        answer = .refused
      } else if octet != 0 {
        if string.isEmpty && isBehindNUL && environment.variables.isEmpty { answer = .refused }
        string.append(octet)
      } else if !string.isEmpty {
        endString()
      } else if isBehindNUL {
        answer = .complete(environment)
      }
      isBehindNUL = octet == 0
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
