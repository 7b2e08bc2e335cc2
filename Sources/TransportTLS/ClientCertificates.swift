// ClientCertificates: if a client is asked for a certificate, who may have issued it, and what it contains.
//
// A certificate that a client sends is always verified, even if it was optional; an invalid one fails the handshake. In
// TLS 1.3 the client learns that only after its own Finished.

import CGnuTLS

/// If and how clients are asked for a certificate.
public enum ClientCertificates: Hashable, Sendable {
  /// The location of the certificates of trusted issuers, in PEM.
  public enum Trust: Hashable, Sendable {
    /// All files in a folder.
    case folder(String)
    /// One file.
    case file(String)
  }

  /// Clients are not asked.
  case ignored
  /// Clients are asked; a certificate is optional.
  case optional(Trust)
  /// A client without a valid certificate is refused.
  case required(Trust)

  /// Adds the trusted issuers.
  func load(into certificates: gnutls_certificate_credentials_t) throws(TLSCredentialsError) {
    switch self {
    case .ignored: return
    case .optional(let trust), .required(let trust):
      let (path, count) =
        switch trust {
        case .folder(let path): (path, gnutls_certificate_set_x509_trust_dir(certificates, path, GNUTLS_X509_FMT_PEM))
        case .file(let path): (path, gnutls_certificate_set_x509_trust_file(certificates, path, GNUTLS_X509_FMT_PEM))
        }
      guard count >= 0 else { throw .badTrust(path: path, libraryText(count)) }
      guard count > 0 else { throw .badTrust(path: path, "no certificate found") }
    }
  }
}

extension GnuTLSStream {
  /// Configures a new session to request a certificate and to verify it.
  static func ask(_ session: gnutls_session_t, forCertificate clients: ClientCertificates) {
    switch clients {
    case .ignored:
      gnutls_certificate_server_set_request(session, GNUTLS_CERT_IGNORE)
      return
    case .optional: gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUEST)
    case .required: gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUIRE)
    }
    gnutls_session_set_verify_function(session) { session in
      guard let session else { return GNUTLS_E_CERTIFICATE_ERROR }
      var count: UInt32 = 0
      guard gnutls_certificate_get_peers(session, &count) != nil, count > 0 else { return 0 }
      var status: UInt32 = 0
      let code = gnutls_certificate_verify_peers2(session, &status)
      return code >= 0 && status == 0 ? 0 : GNUTLS_E_CERTIFICATE_ERROR
    }
  }

  /// The verified certificate of the client; nil if it sent none. Valid after the handshake.
  public var clientCertificate: ClientCertificate? {
    var count: UInt32 = 0
    guard let list = gnutls_certificate_get_peers(session, &count), count > 0 else { return nil }
    return ClientCertificate(UnsafeBufferPointer(start: list[0].data, count: Int(list[0].size)))
  }
}

/// What is reported about a client's certificate.
public struct ClientCertificate: Hashable, Sendable {
  /// SHA-256 of the certificate, in lower-case hexadecimal digits.
  public let fingerprint: String
  /// The subject's distinguished name as in RFC 4514; nil if there is none or it contains control characters.
  public let subject: String?

  /// Reads a certificate in DER; nil if it cannot be parsed.
  init?(_ der: UnsafeBufferPointer<UInt8>) {
    var octets = gnutls_datum_t(data: UnsafeMutablePointer(mutating: der.baseAddress), size: UInt32(der.count))
    var digest = [UInt8](repeating: 0, count: 32)
    guard gnutls_hash_fast(GNUTLS_DIG_SHA256, octets.data, Int(octets.size), &digest) >= 0 else { return nil }
    var certificate: gnutls_x509_crt_t?
    guard gnutls_x509_crt_init(&certificate) >= 0, let certificate else { return nil }
    defer { gnutls_x509_crt_deinit(certificate) }
    guard gnutls_x509_crt_import(certificate, &octets, GNUTLS_X509_FMT_DER) >= 0 else { return nil }
    let digits = Array("0123456789abcdef".utf8)
    let hexadecimal = digest.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }
    fingerprint = String(decoding: hexadecimal, as: UTF8.self)
    subject = ClientCertificate.subject(certificate)
  }

  private static func subject(_ certificate: gnutls_x509_crt_t) -> String? {
    var name = gnutls_datum_t()
    guard gnutls_x509_crt_get_dn3(certificate, &name, 0) >= 0, let data = name.data else { return nil }
    defer { shim_gnutls_free(data) }
    let text = UnsafeBufferPointer(start: data, count: Int(name.size))
    guard !text.isEmpty, !text.contains(where: { $0 < 0x20 || $0 == 0x7f }) else { return nil }
    return String(decoding: text, as: UTF8.self)
  }
}
