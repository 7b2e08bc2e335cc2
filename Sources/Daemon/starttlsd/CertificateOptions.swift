// CertificateOptions: the options about certificates, clients' certificates and session tickets. Failure: a
// ConfigurationError.

import ArgumentParser
import Glibc
import TransportTLS

struct CertificateOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Certificate with its chain, PEM or DER; may be repeated, with one key each. With a name: for clients that request it.",
      valueName: "[name=]file"))
  var certificate: [String] = []

  @Option(help: ArgumentHelp("Private key of the certificate, PEM or DER.", valueName: "[name=]file"))
  var key: [String] = []

  @Option(
    help: ArgumentHelp(
      "Folder with a folder for each certificate, with fullchain.pem and privkey.pem, as certbot and dehydrated have it.",
      valueName: "folder"))
  var certificateFolder: [String] = []

  @Option(
    help: ArgumentHelp("OCSP response for one of the certificates, DER or PEM; may be repeated.", valueName: "file"))
  var ocspResponse: [String] = []

  /// True if no certificate is named.
  var isEmpty: Bool { certificate.isEmpty && key.isEmpty && certificateFolder.isEmpty }

  /// The files that the options name.
  func files() throws(ConfigurationError) -> CertificateFiles {
    guard !certificate.isEmpty || !certificateFolder.isEmpty else {
      throw .usage("there is no certificate: name one with --certificate and its key with --key")
    }
    var files = CertificateFiles()
    let certificates = try CertificateOptions.byName(certificate, "--certificate")
    let keys = try CertificateOptions.byName(key, "--key")
    for name in Set(certificates.keys).union(keys.keys).sorted(by: { ($0 ?? "") < ($1 ?? "") }) {
      let pairs = try CertificateOptions.pairs(certificates[name] ?? [], keys[name] ?? [], name)
      if let name { files.named[name] = pairs } else { files.pairs = pairs }
    }
    files.folders = try certificateFolder.map { (folder) throws(ConfigurationError) in try CertificateOptions.folder(folder) }
    files.responses = ocspResponse
    guard !files.pairs.isEmpty || !files.folders.isEmpty else {
      throw .usage("each --certificate has a name: give one without a name as well, for clients that request no name or another one")
    }
    return files
  }

  /// The pairs of files that two options name.
  private static func pairs(
    _ certificates: [String], _ keys: [String], _ name: String?
  ) throws(ConfigurationError) -> [TLSCredentials.Pair] {
    guard certificates.count == keys.count else {
      let what = name.map { " for \($0)" } ?? ""
      throw .usage("\(certificates.count) --certificate and \(keys.count) --key\(what): each certificate needs its key, in order")
    }
    return zip(certificates, keys).map { TLSCredentials.Pair(certificate: $0, key: $1) }
  }

  /// The files of each name; nil is the key of those without a name. What is before `=` is a name unless it has a slash.
  private static func byName(_ values: [String], _ option: String) throws(ConfigurationError) -> [String?: [String]] {
    var files: [String?: [String]] = [:]
    for value in values {
      let parts = value.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2, !parts[0].contains("/"), !value.hasPrefix("pkcs11:") else {
        files[nil, default: []].append(value)
        continue
      }
      guard isServerName(parts[0]) else {
        throw .usage(
          "\(option) \(value): '\(parts[0])' is not a DNS name, nor one with *. before at least two labels; write a file name with = as ./\(value)")
      }
      files[parts[0].lowercased(), default: []].append(String(parts[1]))
    }
    return files
  }

  /// The path without slashes at its end.
  static func folder(_ path: String) throws(ConfigurationError) -> String {
    guard let end = path.lastIndex(where: { $0 != "/" }) else { throw .usage("'\(path)': name a folder with certificates") }
    return String(path[...end])
  }
}

/// The options about the certificates of clients.
struct ClientCertificateOptions: ParsableArguments {
  enum Request: String, ExpressibleByArgument, CaseIterable { case optional, required }

  @Option(
    help: ArgumentHelp(
      "Ask clients for a certificate. optional: without a valid one the session goes on; required: the handshake fails."))
  var clientCertificate: Request?

  @Option(help: ArgumentHelp("Issuers of the clients' certificates: a file, or a folder of files.", valueName: "path"))
  var clientCa: String?

  @Option(
    help: ArgumentHelp("Revocation lists of these issuers, PEM or DER; may be repeated.", valueName: "file"))
  var clientCrl: [String] = []

  /// Adds the files.
  func add(to files: inout CertificateFiles) throws(ConfigurationError) {
    guard let clientCertificate else {
      guard clientCa == nil, clientCrl.isEmpty else {
        throw .usage("--client-ca and --client-crl need --client-certificate: give it as well")
      }
      return
    }
    guard let clientCa else { throw .usage("--client-certificate needs the issuers of the certificates: name them with --client-ca") }
    files.clientRequest = clientCertificate == .required ? .required : .reported
    files.clientRevocations = clientCrl
    var status = stat()
    files.hasIssuerFolder = stat(clientCa, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    files.clientIssuers = files.hasIssuerFolder ? try CertificateOptions.folder(clientCa) : clientCa
  }
}

/// The options about the resumption of sessions.
struct TicketOptions: ParsableArguments {
  @Flag(help: "Let clients resume TLS sessions with tickets. Some mail senders fail with them.")
  var sessionTickets = false

  @Option(
    help: ArgumentHelp(
      "Key of the tickets, 64 octets, which several machines may share; default: a new one at each start, SIGHUP and week.",
      valueName: "file"))
  var ticketKeyFile: String?

  @Option(help: ArgumentHelp("Seconds for which a ticket is accepted [\(SessionTickets.defaultLifetimeSeconds)].", valueName: "seconds"))
  var ticketLifetime: Int?

  /// Adds the setting.
  func add(to files: inout CertificateFiles) throws(ConfigurationError) {
    guard sessionTickets else {
      guard ticketKeyFile == nil else { throw .usage("--ticket-key-file needs --session-tickets: give it as well") }
      // A configuration file may have the default, as `starttlsd config --defaults` prints it.
      let isDefault = ticketLifetime == nil || ticketLifetime == SessionTickets.defaultLifetimeSeconds
      guard isDefault else { throw .usage("--ticket-lifetime needs --session-tickets: give it as well") }
      return
    }
    // A resumed session has the certificate of the first one: it is not verified again, and may be revoked meanwhile.
    guard files.clientRequest == .ignored else { throw .usage("--session-tickets cannot be used with --client-certificate: choose one") }
    // Longer than a week is not permitted: RFC 8446, 4.6.1.
    let lifetime = ticketLifetime ?? SessionTickets.defaultLifetimeSeconds
    guard (1...604_800).contains(lifetime) else {
      throw .usage("--ticket-lifetime \(lifetime): give a number of seconds from 1 to 604800")
    }
    files.tickets = SessionTickets(isOn: true, keyFile: ticketKeyFile, lifetimeSeconds: lifetime)
  }
}
