// Certificates: loads the certificates that the environment names.
//
//   CERTFILE, KEYFILE            the default pair; required unless -k is 2 or more, and ignored then
//   CERTFILE:name, KEYFILE:name  with -k: for clients that request `name`; `*.example.org` matches one more label
//   OCSPFILE, OCSPFILE:name      OCSP responses for the same certificates, each optional
//   CADIR, CAFILE                with -y and -Y: the trusted issuers of client certificates; CADIR takes precedence
//   CRLFILE                      with -y and -Y: lists of revoked client certificates
//
// Failure: a missing variable is a usage error (100). A file that cannot be used, or a name without its counterpart, is
// a configuration error (96). An expired certificate is used with a warning, because for mail it is better than none; an
// OCSP response that cannot be used is not sent, with a warning.

import Glibc
import ProgramSupport
import Transport
import TransportTLS

enum Certificates {
  /// Loads all certificates that the environment names.
  static func load(_ options: TLSHelperOptions) throws(Failure) -> TLSCredentials {
    let pairs = options.serverNameLevel < 2 ? [try defaultPair()] : []
    let named = options.serverNameLevel > 0 ? try namedPairs() : [:]
    let responses = (options.serverNameLevel < 2 ? [variable("OCSPFILE")] : []) + named.keys.map { variable("OCSPFILE:\($0)") }
    let clients: ClientCertificates =
      switch options.clientCertificate {
      case .ignored: .ignored
      case .optional: try clients(.optional)
      case .required: try clients(.required)
      }
    do throws(TLSCredentialsError) {
      return try TLSCredentials(
        pairs, named: named.reduce(into: [:]) { $0[$1.key.lowercased()] = [$1.value] }, responses: responses.compactMap(\.self), clients: clients,
        isDateChecked: false, isKeyTried: false)
    } catch {
      throw Failure(.configuration, error.description)
    }
  }

  private static func defaultPair() throws(Failure) -> TLSCredentials.Pair {
    guard let certificate = variable("CERTFILE") else { throw Failure(.usage, "CERTFILE is not set") }
    guard let key = variable("KEYFILE") else { throw Failure(.usage, "KEYFILE is not set") }
    return .init(certificate: certificate, key: key)
  }

  /// By name as the variables have it.
  private static func namedPairs() throws(Failure) -> [String: TLSCredentials.Pair] {
    var pairs: [String: TLSCredentials.Pair] = [:]
    for (name, key) in try variables("KEYFILE:") {
      guard let certificate = variable("CERTFILE:\(name)") else {
        throw Failure(.configuration, "KEYFILE:\(name) is set and CERTFILE:\(name) is not")
      }
      guard !pairs.keys.contains(where: { $0.lowercased() == name.lowercased() }) else {
        throw Failure(.configuration, "KEYFILE:\(name) is set twice, in upper and lower case: remove one")
      }
      pairs[name] = .init(certificate: certificate, key: key)
    }
    for (name, _) in try variables("CERTFILE:") where pairs[name] == nil {
      throw Failure(.configuration, "CERTFILE:\(name) is set and KEYFILE:\(name) is not")
    }
    for (name, _) in try variables("OCSPFILE:") where pairs[name] == nil {
      throw Failure(.configuration, "OCSPFILE:\(name) is set and CERTFILE:\(name) is not")
    }
    return pairs
  }

  /// The names and values of all variables that begin with a prefix, without it.
  private static func variables(_ prefix: String) throws(Failure) -> [(name: String, value: String)] {
    var found: [(String, String)] = []
    var entry = environ
    while let string = entry.pointee {
      entry += 1
      let parts = String(cString: string).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2, parts[0].hasPrefix(prefix) else { continue }
      let name = String(parts[0].dropFirst(prefix.count))
      guard !name.isEmpty else { throw Failure(.configuration, "\(prefix) has no name: set \(prefix)NAME") }
      found.append((name, String(parts[1])))
    }
    return found
  }

  private static func clients(_ request: ClientCertificates.Request) throws(Failure) -> ClientCertificates {
    ClientCertificates(request, trust: try trust(), revocations: variable("CRLFILE").map { [$0] } ?? [])
  }

  private static func trust() throws(Failure) -> ClientCertificates.Trust {
    if let folder = variable("CADIR") { return .folder(folder) }
    if let file = variable("CAFILE") { return .file(file) }
    throw Failure(.usage, "neither CADIR nor CAFILE is set")
  }

  private static func variable(_ name: String) -> String? {
    getenv(name).map { String(cString: $0) }
  }
}
