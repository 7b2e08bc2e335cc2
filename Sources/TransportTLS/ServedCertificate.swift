// ServedCertificate: the certificates of a server, read from their files; and what the operator is shown of each.

import Glibc

/// A certificate that is served.
public struct ServedCertificate: Hashable, Sendable {
  /// The file of the certificate.
  public let path: String
  /// The server name that it was named with; nil if the names in it count.
  public let serverName: String?
  /// The DNS names in it; without any, the common name.
  public let names: [String]
  /// The algorithm and size of the key: `EC/ECDSA, 256 bits`.
  public let keyType: String
  /// Seconds since 1970.
  public let validUntil: Int
  /// The file of the OCSP response that is sent with it; nil without one.
  public let response: String?
}

/// The certificates that were read, before the library chooses among them.
struct LoadedCertificates {
  private(set) var defaults: [LoadedPair] = []
  private(set) var others: [LoadedPair] = []
  private(set) var named: [String: [LoadedPair]] = [:]
  var warnings: [String] = []

  /// All of them.
  var all: [LoadedPair] { defaults + others + named.keys.sorted().flatMap { named[$0] ?? [] } }

  /// Why the last certificate was left out.
  private var omission: TLSCredentialsError?
  /// Why a certificate has no response although there is one.
  private var troubles: [ObjectIdentifier: String] = [:]

  /// Adds a certificate for clients without a known server name.
  mutating func add(_ pair: LoadedPair) { defaults.append(pair) }

  /// Adds a certificate that is served for a name, whatever names it contains.
  mutating func add(_ pair: LoadedPair, for name: String) { named[name, default: []].append(pair) }

  /// Adds a certificate that is served only for the names in it, unless it has expired.
  mutating func addOther(_ load: () throws(TLSCredentialsError) -> LoadedPair) throws(TLSCredentialsError) {
    do throws(TLSCredentialsError) {
      others.append(try load())
    } catch .expired(let path, let time) {
      // The folder of a name that is no longer renewed must not prevent the others.
      warnings.append("\(path): expired on \(calendarDate(time)), and is not served: renew the certificate, or remove its folder")
      omission = .expired(path: path, at: time)
    }
  }

  /// Gives a response to the certificates that it is about.
  ///
  /// - Parameter isFileRequired: true if a file that cannot be read is an error; false if it is a warning.
  mutating func staple(_ path: String, isFileRequired: Bool, opening: (any CredentialOpening)?) throws(TLSCredentialsError) {
    let response: OCSPResponse
    do throws(TLSCredentialsError) {
      response = try OCSPResponse(path, opening: opening)
    } catch {
      let trouble: String
      switch error {
      // What a responder sent, such as "try later", must not prevent the start.
      case .badResponse(_, let text): trouble = text
      case .unreadable(_, let cause) where !isFileRequired: trouble = "\(cause)"
      default: throw error
      }
      warnings.append("\(path): this OCSP response is not sent: \(trouble): fetch it again")
      return
    }
    let targets = all.filter { response.isFor($0.chain) }
    if targets.isEmpty { warnings.append("\(path): this OCSP response is for none of the certificates and is not sent: fetch it again") }
    for pair in targets {
      if let trouble = response.trouble(for: pair.chain) {
        troubles[ObjectIdentifier(pair)] = trouble
        warnings.append("\(path): this OCSP response is not sent: \(trouble): fetch it again")
      } else {
        pair.response = response
      }
    }
  }

  /// Called after all responses were read.
  ///
  /// - Parameter isRequired: true if a certificate that requires a response (must-staple, RFC 7633) is refused without
  ///   one, or is left out if it is one of `others`. A client that honours the requirement would refuse it as well.
  mutating func checkResponses(isRequired: Bool) throws(TLSCredentialsError) {
    for pair in all where pair.response == nil && pair.chain.requiresResponse {
      let path = pair.files.certificate
      guard isRequired else {
        warnings.append("\(path): it requires an OCSP response (must-staple), and none is sent")
        continue
      }
      let error = TLSCredentialsError.noResponse(path: path, troubles[ObjectIdentifier(pair)])
      guard let index = others.firstIndex(where: { $0 === pair }) else { throw error }
      others.remove(at: index)
      warnings.append("\(error), and is not served")
      omission = error
    }
  }

  /// Chooses the default, when all that cannot be served is left out.
  mutating func choose() throws(TLSCredentialsError) {
    if defaults.isEmpty, let first = self.others.first {
      defaults = self.others.filter { $0 === first || first.names.first.map($0.names.contains) ?? false }
      self.others.removeAll { other in defaults.contains { $0 === other } }
    }
    guard !all.isEmpty else { throw omission ?? .noCertificate }
    var exposed: Set<String> = []
    for pair in all where pair.isKeyExposed && exposed.insert(pair.files.key).inserted {
      warnings.append(LoadedCertificates.exposed(pair.files.key))
    }
  }

  static func exposed(_ path: String) -> String { "\(path): others than its owner may read this key: chmod 600" }

  var served: [ServedCertificate] {
    func report(_ pair: LoadedPair, _ name: String?) -> ServedCertificate {
      ServedCertificate(
        path: pair.files.certificate, serverName: name, names: pair.chain.names, keyType: pair.chain.keyType,
        validUntil: pair.chain.validUntil, response: pair.response?.path)
    }
    return (defaults + others).map { report($0, nil) }
      + named.keys.sorted().flatMap { name in (named[name] ?? []).map { report($0, name) } }
  }
}

extension TLSCredentials {
  /// True if there is an RSA key, for any signature or for PSS alone.
  package var hasRSAKey: Bool { served.contains { $0.keyType.hasPrefix("RSA") } }

  /// What would make the server cheaper, for the operator; nil if nothing is to be said. The figures are in Docs/TLS.md.
  package var advice: String? {
    guard served.allSatisfy({ $0.keyType.hasPrefix("RSA") }) else { return nil }
    return "all certificates have RSA keys: a signature with P-256 (ECDSA) costs about a tenth of the CPU time: obtain such a certificate too, and name it first"
  }
}
