// ClientCertificates: if a client is asked for a certificate, who may have issued it, and which ones are revoked.
//
// A certificate that a client sends is always verified: issuer, validity, revocation, and that it may be used by clients
// (extended key usage, if it has one). In TLS 1.3 the client learns of a refusal only after its own Finished.

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
}
