// CertificateSet: a certificate with its key, read and checked; and the sets of them from which the library chooses.
//
// Of the certificates of one set the library takes the first one that the client can use: the client's signature
// algorithms and, with TLS 1.2, its cipher suites decide. So one name may have an RSA, an ECDSA and an Ed25519 certificate.

import CGnuTLS
import Glibc

/// A certificate chain, its key and its OCSP response.
final class LoadedPair {
  let files: TLSCredentials.Pair
  let chain: CertificateChain
  /// The DNS names of the certificate, in lower case. Names that no client can request are left out.
  let names: [String]
  /// True if users other than the owner may read the key's file.
  let isKeyExposed: Bool
  /// What is sent to a client that asks for the certificate's status.
  var response: OCSPResponse?
  private let key: LoadedKey
  private var isKeyTried: Bool

  /// Reads and checks the files.
  ///
  /// - Parameters:
  ///   - isKeyTried: true if the key is also tested with a signature, when it is first added to a set.
  ///   - earlier: what is served now. One of these that has expired since is no error: without it, nothing new could be loaded.
  init(
    _ pair: TLSCredentials.Pair, isDateChecked: Bool, isKeyTried: Bool, earlier: [ServedCertificate], opening: (any CredentialOpening)?,
    keys: (any KeyHolding)?
  ) throws(TLSCredentialsError) {
    files = pair
    self.isKeyTried = isKeyTried
    chain = try CertificateChain(CredentialFile(pair.certificate, opening: opening), path: pair.certificate)
    if isDateChecked {
      let now = time(nil)
      let end = chain.validUntil
      guard end > now || earlier.contains(where: { $0.path == pair.certificate && $0.validUntil == end }) else { throw .expired(path: pair.certificate, at: chain.validUntil) }
      guard chain.validFrom <= now else { throw .notYetValid(path: pair.certificate, from: chain.validFrom) }
    }
    key = try LoadedKey(pair.key, opening: opening, keys: keys)
    isKeyExposed = key.isExposed
    guard key.isFor(chain) else { throw .mismatch(certificate: pair.certificate, key: pair.key) }
    names = chain.names.map { $0.lowercased() }.filter { isServerName($0) }
  }

  /// Adds the chain, the key and the response to credentials.
  fileprivate func add(to certificates: gnutls_certificate_credentials_t) throws(TLSCredentialsError) {
    var flags = GNUTLS_CERTIFICATE_API_V2.rawValue
    if !isKeyTried { flags |= GNUTLS_CERTIFICATE_SKIP_KEY_CERT_MATCH.rawValue }
    gnutls_certificate_set_flags(certificates, flags)
    let index = try key.add(chain, to: certificates)
    switch index {
    case 0...: break
    case GNUTLS_E_CERTIFICATE_KEY_MISMATCH: throw .mismatch(certificate: files.certificate, key: files.key)
    default: throw .badCertificate(path: files.certificate, libraryText(index))
    }
    // Once is enough: a certificate with many names is in many sets.
    isKeyTried = false
    try response?.add(to: certificates, at: UInt32(index))
  }
}

/// A private key that was read here, or one that another process holds.
private final class LoadedKey {
  private let own: OwnKey?
  private let held: HeldKey?
  /// True if users other than the owner may read the file.
  let isExposed: Bool

  private final class OwnKey {
    let key: PrivateKey

    init(_ key: consuming PrivateKey) { self.key = key }
  }

  /// - Parameter keys: nil to read the key here.
  init(_ path: String, opening: (any CredentialOpening)?, keys: (any KeyHolding)?) throws(TLSCredentialsError) {
    guard !path.hasPrefix("pkcs11:") else { throw .token(path) }
    held = try keys?.key(path)
    guard held == nil else {
      own = nil
      isExposed = held?.isExposed ?? false
      return
    }
    let file = try CredentialFile(path, opening: opening)
    isExposed = file.isExposed
    own = OwnKey(try PrivateKey(file, path: path))
  }

  func isFor(_ chain: borrowing CertificateChain) -> Bool {
    if let held { return chain.isFor(held) }
    return own.map { chain.isFor($0.key) } ?? false
  }

  /// Adds the chain with this key; returns the library's code.
  func add(_ chain: borrowing CertificateChain, to certificates: gnutls_certificate_credentials_t) throws(TLSCredentialsError) -> CInt {
    if let held { return try chain.add(with: held, to: certificates) }
    guard let own else { return GNUTLS_E_INTERNAL_ERROR }
    return chain.add(with: own.key, to: certificates)
  }
}

/// Certificates for one name, or for several names, in the library's form.
final class CertificateSet {
  let certificates: gnutls_certificate_credentials_t
  /// True if there is no certificate in it: it serves no client.
  let isEmpty: Bool

  /// - Parameter issuers: who may issue the clients' certificates.
  init(_ pairs: [LoadedPair], issuers: TrustedIssuers) throws(TLSCredentialsError) {
    var created: gnutls_certificate_credentials_t?
    let code = gnutls_certificate_allocate_credentials(&created)
    guard code >= 0, let created else { throw .library(libraryText(code)) }
    certificates = created
    // For clients without RFC 7919 in TLS 1.2: the first group of the priorities from 3072 bits on.
    gnutls_certificate_set_known_dh_params(created, GNUTLS_SEC_PARAM_HIGH)
    isEmpty = pairs.isEmpty
    for pair in pairs { try pair.add(to: created) }
    try issuers.add(to: created)
  }

  deinit { gnutls_certificate_free_credentials(certificates) }
}
