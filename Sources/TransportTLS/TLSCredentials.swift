// TLSCredentials: certificates and keys, checked and loaded once for all sessions.
//
// Contract: a value never changes after its creation. To reload, create a new value and give it to the sessions that
// start from then on; each session keeps the value that it started with.
//
// Failure: a TLSCredentialsError. Errors in files are found here, before STARTTLS is offered to a client.

import CGnuTLS
import Glibc

/// The certificates and keys of a TLS server.
///
/// ```swift
/// let credentials = try TLSCredentials([.init(certificate: "/etc/smtp/chain.pem", key: "/etc/smtp/key.pem")])
/// let stream = try GnuTLSStream(credentials)      // before `220`: may fail
/// stream.attach(socket)                           // after `220`
/// ```
///
/// Certificates that are chosen by the requested server name, regardless of the names in them, are `named`.
public final class TLSCredentials: @unchecked Sendable {
  // Unchecked: the pointers never change, and the library only reads their objects once a session uses them.

  /// The paths of a certificate chain and its key, each PEM or DER. They may be the same file.
  public struct Pair: Hashable, Sendable {
    /// The file of the certificate and its chain.
    public var certificate: String
    /// The file of the private key.
    public var key: String

    /// Creates a value from two paths; no file is opened yet.
    public init(certificate: String, key: String) {
      self.certificate = certificate
      self.key = key
    }
  }

  /// If and how clients are asked for a certificate.
  public let clients: ClientCertificates

  /// The time until which all certificates are valid, in seconds since 1970: the earliest expiry.
  public let validUntil: Int

  /// The end of the validity of each certificate, in seconds since 1970, with the path of its file.
  public let expirations: [(path: String, validUntil: Int)]

  /// The paths of key files that users other than the owner may read: log a warning for each.
  public let exposedKeys: [String]

  /// True if sessions may be resumed with tickets.
  public let tickets: Bool

  /// The initial credentials of a session.
  let certificates: gnutls_certificate_credentials_t
  /// True if `certificates` has a certificate.
  let hasDefault: Bool
  private let named: [String: gnutls_certificate_credentials_t]
  private var ticketKey = gnutls_datum_t()

  /// Loads and checks all files.
  ///
  /// - Parameters:
  ///   - pairs: if there are several, the client's server name (SNI) and capabilities decide; the first is the default.
  ///     May be empty only if there are `named` ones; then a client without a matching name is refused.
  ///   - named: by server name in lower case. `*.example.org` matches every name with one more label.
  ///   - clients: if and how clients are asked for a certificate.
  ///   - isDateChecked: true if a certificate that has expired or is not valid yet is an error. With opportunistic TLS
  ///     an expired certificate may be better than none.
  ///   - isKeyTried: true if the key is also tested with a signature that is verified with the certificate. If false,
  ///     only the public keys are compared: a program for one connection saves one signature of two.
  ///   - tickets: true to issue session tickets. Off by default, because some mail senders fail with them.
  ///   - opening: opens each file of the pairs; nil to open it by its path.
  public convenience init(
    _ pairs: [Pair], named: [String: Pair] = [:], clients: ClientCertificates = .ignored, isDateChecked: Bool = true,
    isKeyTried: Bool = true, tickets: Bool = false, opening: (any CredentialOpening)? = nil
  ) throws(TLSCredentialsError) {
    try self.init(
      pairs, named: named, clients: clients, isDateChecked: isDateChecked, isKeyTried: isKeyTried, tickets: tickets,
      opening: opening, keys: nil)
  }

  /// The same, with keys that another process holds.
  ///
  /// - Parameter keys: nil to read the keys here.
  package init(
    _ pairs: [Pair], named: [String: Pair] = [:], clients: ClientCertificates = .ignored, isDateChecked: Bool = true,
    isKeyTried: Bool = true, tickets: Bool = false, opening: (any CredentialOpening)?, keys: (any KeyHolding)?
  ) throws(TLSCredentialsError) {
    guard !pairs.isEmpty || !named.isEmpty else { throw .noCertificate }
    var allocated: [gnutls_certificate_credentials_t] = []
    var ticketKey = gnutls_datum_t()
    var validUntil = Int.max
    var exposedKeys: [String] = []
    var expirations: [(path: String, validUntil: Int)] = []
    var loaded: [String: gnutls_certificate_credentials_t] = [:]
    do throws(TLSCredentialsError) {
      for (name, pairs) in [(nil, pairs)] + named.map({ ($0.key, [$0.value]) }) as [(String?, [Pair])] {
        let certificates = try TLSCredentials.allocate()
        allocated.append(certificates)
        if !isKeyTried { gnutls_certificate_set_flags(certificates, GNUTLS_CERTIFICATE_SKIP_KEY_CERT_MATCH.rawValue) }
        for pair in pairs {
          let loaded = try TLSCredentials.load(
            pair, into: certificates, isDateChecked: isDateChecked, opening: opening, keys: keys)
          validUntil = min(validUntil, loaded.validUntil)
          expirations.append((pair.certificate, loaded.validUntil))
          if loaded.isKeyExposed, !exposedKeys.contains(pair.key) { exposedKeys.append(pair.key) }
        }
        try clients.load(into: certificates)
        if let name { loaded[name] = certificates }
      }
      if tickets {
        let code = gnutls_session_ticket_key_generate(&ticketKey)
        guard code >= 0 else { throw .library(libraryText(code)) }
      }
    } catch {
      for certificates in allocated { gnutls_certificate_free_credentials(certificates) }
      throw error
    }
    self.certificates = allocated[0]
    self.hasDefault = !pairs.isEmpty
    self.named = loaded
    self.clients = clients
    self.ticketKey = ticketKey
    self.tickets = tickets
    self.validUntil = validUntil
    self.expirations = expirations
    self.exposedKeys = exposedKeys
  }

  deinit {
    gnutls_certificate_free_credentials(certificates)
    for certificates in named.values { gnutls_certificate_free_credentials(certificates) }
    if let data = ticketKey.data {
      gnutls_memset(data, 0, Int(ticketKey.size))
      shim_gnutls_free(data)
    }
  }

  /// True if there are certificates that are chosen by name.
  var isNamed: Bool { !named.isEmpty }

  /// The certificate for a server name in lower case: that of the name, that of `*` in place of its first label (not
  /// for a name of two labels), the default, or nil.
  func certificates(for name: String?) -> gnutls_certificate_credentials_t? {
    if let name {
      if let own = named[name] { return own }
      let rest = name.drop { $0 != "." }
      if rest.dropFirst().contains("."), let wild = named["*\(rest)"] { return wild }
    }
    return hasDefault ? certificates : nil
  }

  private static func allocate() throws(TLSCredentialsError) -> gnutls_certificate_credentials_t {
    var certificates: gnutls_certificate_credentials_t?
    let code = gnutls_certificate_allocate_credentials(&certificates)
    guard code >= 0, let certificates else { throw .library(libraryText(code)) }
    // For clients without RFC 7919 in TLS 1.2: the first group of the priorities from 3072 bits on.
    gnutls_certificate_set_known_dh_params(certificates, GNUTLS_SEC_PARAM_HIGH)
    return certificates
  }

  /// Gives a session the key that encrypts its tickets.
  func enableTickets(_ session: gnutls_session_t) -> CInt {
    gnutls_session_ticket_enable_server(session, &ticketKey)
  }

  /// Checks a pair of files and adds it.
  ///
  /// - Returns: the end of the certificate's validity, and true if users other than the owner may read the key.
  private static func load(
    _ pair: Pair, into certificates: gnutls_certificate_credentials_t, isDateChecked: Bool,
    opening: (any CredentialOpening)?, keys: (any KeyHolding)?
  ) throws(TLSCredentialsError) -> (validUntil: Int, isKeyExposed: Bool) {
    let chain = try CertificateChain(CredentialFile(pair.certificate, opening: opening), path: pair.certificate)
    if isDateChecked {
      let now = time(nil)
      guard chain.validUntil > now else { throw .expired(path: pair.certificate, at: chain.validUntil) }
      guard chain.validFrom <= now else { throw .notYetValid(path: pair.certificate, from: chain.validFrom) }
    }
    let added = try add(pair, chain, to: certificates, opening: opening, keys: keys)
    switch added.code {
    case 0...: return (chain.validUntil, added.isKeyExposed)
    case GNUTLS_E_CERTIFICATE_KEY_MISMATCH: throw .mismatch(certificate: pair.certificate, key: pair.key)
    default: throw .badCertificate(path: pair.certificate, libraryText(added.code))
    }
  }

  /// Adds a chain and its key.
  ///
  /// - Returns: the library's code, and true if users other than the owner may read the key.
  private static func add(
    _ pair: Pair, _ chain: borrowing CertificateChain, to certificates: gnutls_certificate_credentials_t,
    opening: (any CredentialOpening)?, keys: (any KeyHolding)?
  ) throws(TLSCredentialsError) -> (code: CInt, isKeyExposed: Bool) {
    if let held = try keys?.key(pair.key) {
      guard chain.isFor(held) else { throw .mismatch(certificate: pair.certificate, key: pair.key) }
      return (try chain.add(with: held, to: certificates), held.isExposed)
    }
    let file = try CredentialFile(pair.key, opening: opening)
    let key = try PrivateKey(file, path: pair.key)
    guard chain.isFor(key) else { throw .mismatch(certificate: pair.certificate, key: pair.key) }
    return (chain.add(with: key, to: certificates), file.isExposed)
  }
}
