// ClientCertificates: if a client is asked for a certificate, who may have issued it, and which ones are revoked.
//
// A certificate that a client sends is always verified: issuer, validity, revocation, and that it may be used by clients
// (extended key usage, if it has one). In TLS 1.3 the client learns of a refusal only after its own Finished.

import CGnuTLS
import Glibc
import Transport

/// If and how clients are asked for a certificate.
public struct ClientCertificates: Hashable, Sendable {
  /// The location of the certificates of trusted issuers, in PEM, or in DER with one certificate per file.
  public enum Trust: Hashable, Sendable {
    /// All files in a folder, at most 1024. Files without a certificate are ignored.
    case folder(String)
    /// One file.
    case file(String)
    /// Some files of a folder. Files without a certificate are ignored.
    case files([String], folder: String)
  }

  /// What is asked of a client.
  public enum Request: Hashable, Sendable {
    /// Nothing.
    case ignored
    /// A certificate is optional. If one is sent and is not valid, the handshake fails.
    case optional
    /// A certificate is optional. If one is sent and is not valid, this is reported, and the session goes on.
    case reported
    /// A client without a valid certificate is refused.
    case required
  }

  /// What is asked of a client.
  public var request: Request
  /// Who may have issued the certificates; nil only if clients are not asked.
  public var trust: Trust?
  /// Files with revocation lists of the issuers, in PEM or DER. If the last list
  /// of an issuer has expired, its certificates are refused.
  public var revocations: [String]

  /// Clients are not asked.
  public static let ignored = ClientCertificates(.ignored, trust: nil)

  /// Creates a setting; no file is read yet.
  public init(_ request: Request, trust: Trust?, revocations: [String] = []) {
    self.request = request
    self.trust = trust
    self.revocations = revocations
  }

  /// Adds the trusted issuers and the revocation lists.
  func load(
    into certificates: gnutls_certificate_credentials_t, opening: (any CredentialOpening)?
  ) throws(TLSCredentialsError) {
    guard request != .ignored, let trust else { return }
    switch trust {
    case .folder(let path):
      let paths: [String]
      do { paths = try CredentialFolder.files(in: path) } catch { throw .unreadable(path: path, error) }
      try ClientCertificates.add(paths, of: path, to: certificates, opening: opening)
    case .file(let path):
      let count = ClientCertificates.add(try CredentialFile(path, opening: opening), to: certificates)
      guard count > 0 else { throw .badTrust(path: path, count < 0 ? libraryText(count) : "no certificate found") }
    case .files(let paths, let folder):
      try ClientCertificates.add(paths, of: folder, to: certificates, opening: opening)
    }
    for path in revocations { try RevocationList(path, opening: opening).add(to: certificates) }
  }

  private static func add(
    _ paths: [String], of folder: String, to certificates: gnutls_certificate_credentials_t, opening: (any CredentialOpening)?
  ) throws(TLSCredentialsError) {
    var count: CInt = 0
    for path in paths { count += max(0, add(try CredentialFile(path, opening: opening), to: certificates)) }
    guard count > 0 else { throw .badTrust(path: folder, "no certificate found") }
  }

  private static func add(_ file: consuming CredentialFile, to certificates: gnutls_certificate_credentials_t) -> CInt {
    let form = file.form
    return file.withDatum { gnutls_certificate_set_x509_trust_mem(certificates, &$0, form) }
  }
}

/// A file with lists of revoked certificates.
struct RevocationList: ~Copyable {
  private let path: String
  private let lists: UnsafeMutablePointer<gnutls_x509_crl_t?>
  private let count: UInt32

  init(_ path: String, opening: (any CredentialOpening)?) throws(TLSCredentialsError) {
    let file = try CredentialFile(path, opening: opening)
    let form = file.form
    var lists: UnsafeMutablePointer<gnutls_x509_crl_t?>?
    var count: UInt32 = 0
    let code = file.withDatum { gnutls_x509_crl_list_import2(&lists, &count, &$0, form, 0) }
    guard code >= 0, count > 0, let lists else { throw .badRevocations(path: path, libraryText(code)) }
    self.path = path
    self.lists = lists
    self.count = count
  }

  deinit {
    for index in 0..<Int(count) { gnutls_x509_crl_deinit(lists[index]) }
    shim_gnutls_free(lists)
  }

  /// Adds copies. The issuers must have been added before: a list that none of them has signed is refused.
  func add(to certificates: gnutls_certificate_credentials_t) throws(TLSCredentialsError) {
    gnutls_certificate_set_flags(certificates, GNUTLS_CERTIFICATE_VERIFY_CRLS.rawValue)
    let now = time(nil)
    for index in 0..<Int(count) {
      // The library cannot verify a list that has expired, so it is not added, and only its end counts (`addEnds`): without a
      // later list, all certificates of its issuer are refused.
      let end = gnutls_x509_crl_get_next_update(lists[index])
      if end >= 0, end <= now { continue }
      let added = gnutls_certificate_set_x509_crl(certificates, lists + index, 1)
      guard added == 1 else {
        let isForeign = added >= 0 || added == GNUTLS_E_CRL_VERIFICATION_ERROR
        throw .badRevocations(path: path, isForeign ? "not signed by one of the issuers that are trusted" : libraryText(added))
      }
    }
  }

  /// True if one of the lists has expired.
  var isExpired: Bool { validUntil.map { $0 <= time(nil) } ?? false }

  /// The ends of the lists by the name of the issuer, in DER; of several lists of one issuer, the last end.
  func addEnds(to ends: inout [[UInt8]: Int]) {
    for index in 0..<Int(count) {
      let end = gnutls_x509_crl_get_next_update(lists[index])
      guard end >= 0, let issuer = derName({ gnutls_x509_crl_get_raw_issuer_dn(lists[index], $0) }) else { continue }
      ends[issuer] = max(end, ends[issuer] ?? end)
    }
  }

  /// The end of the validity, in seconds since 1970, of the list that ends first; nil if none has an end.
  var validUntil: Int? {
    (0..<Int(count)).map { gnutls_x509_crl_get_next_update(lists[$0]) }.filter { $0 >= 0 }.min()
  }
}

/// A distinguished name in DER, as the library returns it.
func derName(_ read: (UnsafeMutablePointer<gnutls_datum_t>) -> CInt) -> [UInt8]? {
  var name = gnutls_datum_t()
  guard read(&name) >= 0, let data = name.data else { return nil }
  defer { shim_gnutls_free(data) }
  return Array(UnsafeBufferPointer(start: data, count: Int(name.size)))
}
