// TLSCredentialsError: why TLS cannot be offered, and what the operator can do.

public import Transport

/// Why a certificate, its key or the priorities cannot be used. `description` is one line for the operator.
public enum TLSCredentialsError: Error, Hashable, Sendable, CustomStringConvertible {
  /// No certificate was named.
  case noCertificate
  /// A file cannot be opened or read.
  case unreadable(path: String, SystemError)
  /// A file is larger than a certificate chain or key ever is.
  case tooLarge(path: String)
  /// A file holds no certificate in PEM or DER; the text is the library's.
  case badCertificate(path: String, String)
  /// A file holds more certificates than a chain may have.
  case chainTooLong(path: String, count: Int)
  /// A file holds no usable private key in PEM or DER; the text is the library's.
  case badKey(path: String, String)
  /// A file or folder holds no certificate of a trusted issuer of client certificates; the text is the library's.
  case badTrust(path: String, String)
  /// A file holds no usable list of revoked certificates; the text is the library's.
  case badRevocations(path: String, String)
  /// A file holds no OCSP response that can be used.
  case badResponse(path: String, String)
  /// A certificate requires an OCSP response (must-staple); the text is why the one that was given is not usable.
  case noResponse(path: String, String?)
  /// A file holds no key for session tickets, or others may read it.
  case badTicketKey(path: String, String)
  /// Sessions may be resumed, and clients are asked for a certificate: it would not be verified in a resumed session.
  case ticketsWithClientCertificates
  /// A key in a token (PKCS#11) was named.
  case token(String)
  /// Certificate and key do not belong together.
  case mismatch(certificate: String, key: String)
  /// The certificate is no longer valid. The time is in seconds since 1970.
  case expired(path: String, at: Int)
  /// The certificate is not valid yet. The time is in seconds since 1970.
  case notYetValid(path: String, from: Int)
  /// The priority string is wrong; the second value is the part from the error on.
  case badPriorities(String, at: String)
  /// The priority string allows what no session may use; the second value is its name.
  case weakPriorities(String, String)
  /// A group is unknown, or the library does not have it. `known` are those that it has.
  case unknownGroup(String, known: [String])
  /// A name for which a certificate is to be created is not a DNS name.
  case badName(String)
  /// A file or folder cannot be written.
  case unwritable(path: String, SystemError)
  /// The file at the place of the self-signed certificate was not created by this module.
  case notSelfSigned(path: String)
  /// The TLS library failed in a way that depends on no file; the text is the library's.
  case library(String)

  /// One line for the operator.
  public var description: String {
    switch self {
    case .noCertificate:
      "no certificate was given: name a certificate chain and its key, both in PEM or DER"
    case .unreadable(let path, let error):
      "\(path): \(error): check that the file exists and that this user may read it"
    case .tooLarge(let path):
      "\(path): larger than 1 MiB: this is neither a certificate chain nor a key"
    case .badCertificate(let path, let trouble):
      "\(path): \(trouble): expected certificates in PEM, the server's own first, then its issuers, or one in DER"
    case .chainTooLong(let path, let count):
      "\(path): \(count) certificates, at most \(CertificateChain.limit) are allowed: leave the server's own and its issuers"
    case .badKey(let path, let trouble):
      "\(path): \(trouble): expected an unencrypted private key in PEM or DER"
    case .badTrust(let path, let trouble):
      "\(path): \(trouble): expected the certificates, in PEM, of those who issue the clients' certificates"
    case .badRevocations(let path, let trouble):
      "\(path): \(trouble): expected revocation lists, in PEM or DER, of those who issue the clients' certificates"
    case .badResponse(let path, let trouble):
      "\(path): \(trouble): expected an OCSP response in DER or PEM"
    case .noResponse(let path, let trouble):
      "\(path) requires an OCSP response (must-staple): \(trouble.map { "the one that was given is not usable: \($0)" } ?? "name a file with --ocsp-response")"
    case .badTicketKey(let path, let trouble):
      "\(path): not a key for session tickets: \(trouble)"
    case .ticketsWithClientCertificates:
      "session tickets cannot be used with client certificates, which a resumed session does not verify: choose one"
    case .token(let name):
      "\(name): keys in a token (PKCS#11) are not supported: name a file"
    case .mismatch(let certificate, let key):
      "\(key) is not the key of the first certificate in \(certificate): check that both were renewed together"
    case .expired(let path, let time):
      "\(path): expired on \(calendarDate(time)): renew the certificate"
    case .notYetValid(let path, let time):
      "\(path): valid only from \(calendarDate(time)) on: check this machine's clock"
    case .badPriorities(let text, let rest):
      rest.isEmpty
        ? "priorities '\(text)': nothing usable is left: allow a version, a cipher, a key exchange with a certificate such as ECDHE-RSA and a group for it; see gnutls priority strings"
        : "priorities '\(text)': not understood at octet \(position(of: rest, in: text)), from '\(rest)' on: see gnutls priority strings"
    case .weakPriorities(let text, let name):
      "priorities '\(text)' allow \(name): leave it out; a string that begins with NORMAL needs -VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
    case .unknownGroup(let name, let known):
      "'\(name)' is not a group of this TLS library, which has \(known.joined(separator: ", "))"
    case .badName(let name):
      "'\(name)' is not a DNS name (letters, digits, '-' and '.', at most 253 octets)"
    case .unwritable(let path, let error):
      "\(path): \(error): check that the folder exists and that this user may write there"
    case .notSelfSigned(let path):
      "\(path) is not a self-signed certificate of ours and is not changed: use it as the certificate or move it away"
    case .library(let trouble):
      "TLS library: \(trouble)"
    }
  }
}

/// The position of the rest of a text, counted from 1, in octets.
private func position(of rest: String, in text: String) -> Int { text.utf8.count - rest.utf8.count + 1 }
