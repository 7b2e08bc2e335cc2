// CertificateFiles: the files that the options about TLS name: certificates, keys, OCSP responses, issuers and revocation
// lists of clients' certificates, the key of session tickets.
//
// Folders are listed at each load, so that new files in them are found. The process that reads the files again lists
// them in the same way, see CertificateReader. All files are one set: it is loaded completely or not at all.

import Glibc
import Transport
import TransportTLS

/// What to load, as named at the start.
struct CertificateFiles: Sendable {
  /// For clients without a known server name, and for the names in them.
  var pairs: [TLSCredentials.Pair] = []
  /// By server name, in lower case.
  var named: [String: [TLSCredentials.Pair]] = [:]
  /// Folders with a folder for each certificate.
  var folders: [String] = []
  /// OCSP responses.
  var responses: [String] = []
  var clientRequest = ClientCertificates.Request.ignored
  /// The issuers of the clients' certificates: a file, or a folder.
  var clientIssuers: String?
  var hasIssuerFolder = false
  var clientRevocations: [String] = []
  var tickets = SessionTickets.off

  /// The maximum number of files.
  static let limit = 1024

  /// Reads the files itself, at the start.
  func load() throws(TLSCredentialsError) -> TLSCredentials {
    let listing = list()
    for (path, code) in listing.failures { throw .unreadable(path: path, SystemError("open", code)) }
    return try TLSCredentials(request(listing.paths), opening: nil)
  }

  /// Why the files cannot be used at the start, and what to do.
  func refused(_ error: any Error) -> ConfigurationError {
    guard let error = error as? TLSCredentialsError, case .noCertificate = error, let folder = folders.first else { return .usage("\(error)") }
    return .usage("\(folder): no folder in it has fullchain.pem and privkey.pem: name the folder that has a folder for each certificate")
  }

  /// What to load for the set.
  ///
  /// - Parameters:
  ///   - paths: all files, as `list` returned them.
  ///   - replacesTicketKey: see `CredentialRequest`.
  func request(_ paths: [String], replacesTicketKey: Bool = false) -> CredentialRequest {
    let known = Set(paths)
    var (others, responses) = ([TLSCredentials.Pair](), responses)
    for path in paths {
      guard let folder = CertificateFiles.certificateFolder(of: path) else { continue }
      guard folders.contains(where: { folder.hasPrefix($0 + "/") }) else { continue }
      let pair = TLSCredentials.Pair(certificate: path, key: folder + "/" + CertificateFiles.keyName)
      if known.contains(pair.key), !pairs.contains(pair), !others.contains(pair) { others.append(pair) }
      let response = folder + "/" + CertificateFiles.responseName
      if known.contains(response), !responses.contains(response) { responses.append(response) }
    }
    let trust: ClientCertificates.Trust? = clientIssuers.map { issuers in
      hasIssuerFolder
        ? .files(paths.filter { $0.hasPrefix(issuers + "/") && !$0.dropFirst(issuers.utf8.count + 1).contains("/") }, folder: issuers)
        : .file(issuers)
    }
    return CredentialRequest(
      pairs: pairs, others: others, named: named, responses: responses,
      clients: ClientCertificates(clientRequest, trust: trust, revocations: clientRevocations), tickets: tickets,
      replacesTicketKey: replacesTicketKey)
  }

  // MARK: Folders

  /// The names that certbot and dehydrated give to the files of a certificate; dehydrated also fetches the response.
  private static let chainName = "fullchain.pem"
  private static let keyName = "privkey.pem"
  private static let responseName = "ocsp.der"

  private static func certificateFolder(of path: String) -> String? {
    path.hasSuffix("/" + chainName) ? String(path.dropLast(chainName.utf8.count + 1)) : nil
  }

  /// True if a file of the set is named as a private key.
  func isKey(_ path: String) -> Bool {
    if (pairs + named.values.joined()).contains(where: { $0.key == path }) { return true }
    return path.hasSuffix("/" + CertificateFiles.keyName) && folders.contains { path.hasPrefix($0 + "/") }
  }

  /// True if a file of the set is named as something else, also if it is a key as well.
  func isOther(_ path: String) -> Bool {
    !isKey(path) || (pairs + named.values.joined()).contains { $0.certificate == path } || responses.contains(path)
      || clientRevocations.contains(path) || clientIssuers == path || tickets.keyFile == path
      || hasIssuerFolder && clientIssuers.map { path.hasPrefix($0 + "/") } ?? false
  }

  /// The folders that are listed.
  var allFolders: [String] { folders + (hasIssuerFolder ? [clientIssuers].compactMap(\.self) : []) }

  /// The files that exist now, each once, in a fixed order, and the folders that cannot be listed.
  func list() -> (paths: [String], failures: [String: CInt]) {
    var paths: [String] = []
    var failures: [String: CInt] = [:]
    var known: Set<String> = []
    func add(_ path: String) {
      // A message of the reading process has the path.
      guard path.utf8.count <= HelperMessage.textLimit else { return failures[String(path.prefix(80))] = ENAMETOOLONG }
      if known.insert(path).inserted { paths.append(path) }
    }
    for pair in pairs + named.keys.sorted().flatMap({ named[$0] ?? [] }) {
      add(pair.certificate)
      add(pair.key)
    }
    for folder in folders {
      do throws(SystemError) {
        for name in try CredentialFolder.names(in: folder) {
          let files = [CertificateFiles.chainName, CertificateFiles.keyName].map { "\(folder)/\(name)/\($0)" }
          // The folder of a request that is not answered yet has no certificate.
          guard files.allSatisfy(CredentialFolder.isRegular) else { continue }
          files.forEach(add)
          let response = "\(folder)/\(name)/\(CertificateFiles.responseName)"
          if CredentialFolder.isRegular(response) { add(response) }
        }
      } catch {
        failures[folder] = error.code
      }
    }
    if let clientIssuers {
      if hasIssuerFolder {
        do throws(SystemError) {
          try CredentialFolder.files(in: clientIssuers).forEach(add)
        } catch {
          failures[clientIssuers] = error.code
        }
      } else {
        add(clientIssuers)
      }
    }
    (responses + clientRevocations).forEach(add)
    if let key = tickets.keyFile { add(key) }
    if paths.count > CertificateFiles.limit {
      failures[folders.first ?? clientIssuers ?? paths[0]] = E2BIG
      paths.removeSubrange(CertificateFiles.limit...)
    }
    return (paths, failures)
  }
}
