// CertificateReport: what an operator wants to know about a certificate or a key before it is served.

/// What is in a certificate file.
public struct CertificateReport: Hashable, Sendable {
  /// The DNS names; without any, the common name.
  public let names: [String]
  /// The algorithm and size of the key: `EC/ECDSA, 256 bits`.
  public let keyType: String
  /// Seconds since 1970.
  public let validUntil: Int
  /// SHA-256 of the public key in the form of its certificate (SubjectPublicKeyInfo): the data of a TLSA record 3 1 1
  /// (RFC 6698, 2.1).
  public let publicKeyDigest: [UInt8]

  /// Reads a certificate file, in PEM or DER.
  public init(certificate path: String) throws(TLSCredentialsError) {
    let chain = try CertificateChain(CredentialFile(path), path: path)
    names = chain.names
    keyType = chain.keyType
    validUntil = chain.validUntil
    publicKeyDigest = try checked(chain.publicKeyDigest)
  }
}

/// What is in a file with a private key.
public struct KeyReport: Hashable, Sendable {
  /// The algorithm and size: `RSA, 2048 bits`.
  public let keyType: String
  /// As in `CertificateReport`.
  public let publicKeyDigest: [UInt8]

  /// Reads an unencrypted private key, in PEM or DER.
  public init(key path: String) throws(TLSCredentialsError) {
    let key = try PrivateKey(CredentialFile(path), path: path)
    keyType = key.keyType
    publicKeyDigest = try checked(key.publicKeyDigest)
  }
}

private func checked(_ digest: [UInt8]?) throws(TLSCredentialsError) -> [UInt8] {
  guard let digest else { throw .library("the digest of the public key cannot be computed") }
  return digest
}
