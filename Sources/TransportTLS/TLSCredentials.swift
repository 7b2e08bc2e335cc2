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

  /// What is served, in the order of the files that were named.
  public let served: [ServedCertificate]

  /// What the operator should change although it works: log each as a warning.
  public let warnings: [String]

  /// Which certificates of clients are revoked.
  let revoked: RevokedCertificates
  /// Which certificates are served for which name.
  let names: ServerNames
  /// nil if no session is resumed.
  let ticketKeys: TicketKeys?

  /// Loads and checks all files.
  ///
  /// - Parameters:
  ///   - pairs: for a client without a known server name (SNI): the first one that it can use. If there are several
  ///     pairs, a client that requests a name in one of the certificates gets that one. May be empty only if there are
  ///     `named` ones; then a client without a matching name is refused.
  ///   - others: served only for the names in them. One that has expired is left out, with a warning. If `pairs` is
  ///     empty, the first one is the default, together with those that cover its first name.
  ///   - named: by server name in lower case, whatever the names in the certificates are. `*.example.org` matches every
  ///     name with one more label.
  ///   - responses: files with OCSP responses. Each is sent with the certificate that it is about.
  ///   - clients: if and how clients are asked for a certificate.
  ///   - isDateChecked: true if a certificate that has expired, is not valid yet, or lacks the OCSP response that it
  ///     requires is an error. With opportunistic TLS such a certificate may be better than none.
  ///   - isKeyTried: true if the key is also tested with a signature that is verified with the certificate. If false,
  ///     only the public keys are compared: a program for one connection saves one signature of two.
  ///   - tickets: if sessions may be resumed. Off by default, because some mail senders fail with session tickets. An
  ///     error together with `clients`.
  ///   - opening: opens each file; nil to open it by its path.
  public convenience init(
    _ pairs: [Pair], others: [Pair] = [], named: [String: [Pair]] = [:], responses: [String] = [],
    clients: ClientCertificates = .ignored, isDateChecked: Bool = true, isKeyTried: Bool = true,
    tickets: SessionTickets = .off,
    opening: (any CredentialOpening)? = nil
  ) throws(TLSCredentialsError) {
    let request = CredentialRequest(
      pairs: pairs, others: others, named: named, responses: responses, clients: clients, isDateChecked: isDateChecked,
      isKeyTried: isKeyTried, tickets: tickets)
    try self.init(request, opening: opening)
  }

  /// The same, with all settings in one value.
  package convenience init(_ request: CredentialRequest, opening: (any CredentialOpening)?) throws(TLSCredentialsError) {
    let loading = try CredentialLoading(request, opening: opening, keys: nil)
    while try loading.hasMore() {}
    try self.init(loading)
  }

  /// What was loaded, all of it.
  init(_ loading: CredentialLoading) throws(TLSCredentialsError) {
    guard let names = loading.names else { throw .noCertificate }
    // A resumed session has the certificate of the first one, and its signature, issuer and revocation are not verified again.
    guard loading.ticketKeys == nil || loading.request.clients.request == .ignored else { throw .ticketsWithClientCertificates }
    self.names = names
    ticketKeys = loading.ticketKeys
    clients = loading.request.clients
    revoked = loading.revoked
    warnings = loading.certificates.warnings
    served = loading.certificates.served
    validUntil = served.map(\.validUntil).min() ?? 0
  }
  /// The same, with a new key for the tickets. Tickets of the key before are accepted for one more lifetime. Only for
  /// credentials with a key that was made here.
  package init(replacingTicketKeyOf earlier: TLSCredentials) throws(TLSCredentialsError) {
    ticketKeys = if let keys = earlier.ticketKeys { try TicketKeys(replacing: keys) } else { nil }
    names = earlier.names
    clients = earlier.clients
    revoked = earlier.revoked
    warnings = earlier.warnings
    served = earlier.served
    validUntil = earlier.validUntil
  }

  /// When the key of the tickets is to be replaced, by the clock of `Clock.now()`; nil if never.
  package var ticketKeyReplacement: Int? { ticketKeys?.replacement }
}
