// ClientVerification: asks a client for its certificate, verifies it, and reports what is in it.
//
// The contents are text of whoever issued the certificate. Only values that are short and have no control character are
// reported, so that they fit into a log line and a variable. Nothing is reported of a certificate that is not valid,
// apart from its digest: a program that reads the subject must not take it for verified.

import CGnuTLS
import Glibc
import Transport

extension GnuTLSStream {
  /// Configures a new session to request a certificate and to verify it.
  static func ask(_ session: gnutls_session_t, forCertificate clients: ClientCertificates) {
    let request =
      switch clients.request {
      case .ignored: GNUTLS_CERT_IGNORE
      case .optional, .reported: GNUTLS_CERT_REQUEST
      case .required: GNUTLS_CERT_REQUIRE
      }
    gnutls_certificate_server_set_request(session, request)
    guard clients.request != .ignored else { return }
    gnutls_session_set_verify_function(session) { session in
      guard let session, let context = gnutls_transport_get_ptr(session) else { return GNUTLS_E_CERTIFICATE_ERROR }
      let stream = Unmanaged<GnuTLSStream>.fromOpaque(context).takeUnretainedValue()
      return stream.verifyClient() ? 0 : GNUTLS_E_CERTIFICATE_ERROR
    }
  }

  /// Verifies the client's certificate; false if the handshake must fail.
  private func verifyClient() -> Bool {
    var count: UInt32 = 0
    guard gnutls_certificate_get_peers(session, &count) != nil, count > 0 else { return true }
    var status: UInt32 = 0
    let code = GNUTLS_KP_TLS_WWW_CLIENT.withCString { purpose in
      var data = gnutls_typed_vdata_st(
        type: GNUTLS_DT_KEY_PURPOSE_OID, data: UnsafeMutablePointer(mutating: UnsafeRawPointer(purpose).assumingMemoryBound(to: UInt8.self)),
        size: 0)
      return gnutls_certificate_verify_peers(session, &data, 1, &status)
    }
    clientFault = code < 0 ? libraryText(code) : GnuTLSStream.fault(status)
    if code >= 0, let fault = revocationFault, clientFault == nil || fault == "revoked" { clientFault = fault }
    return clientFault == nil || reportsClientFaults
  }

  /// What the revocation lists say against a certificate in the client's chain; nil if nothing. The library has no lists.
  private var revocationFault: String? {
    let revoked = credentials.revoked
    guard !revoked.isEmpty else { return nil }
    let now = time(nil)
    var count: UInt32 = 0
    guard let list = gnutls_certificate_get_peers(session, &count) else { return nil }
    var fault: String?
    for index in 0..<Int(count) {
      var created: gnutls_x509_crt_t?
      guard gnutls_x509_crt_init(&created) >= 0, let certificate = created else { return "revoked" }
      defer { gnutls_x509_crt_deinit(certificate) }
      var octets = list[index]
      guard gnutls_x509_crt_import(certificate, &octets, GNUTLS_X509_FMT_DER) >= 0 else { return "revoked" }
      switch revoked.status(of: certificate, now: now) {
      case .good: break
      case .revoked: return "revoked"
      case .unknown: fault = "revocation list expired"
      }
    }
    return fault
  }

  /// Why a certificate is not valid, in words without punctuation; nil if it is valid.
  private static func fault(_ status: UInt32) -> String? {
    guard status != 0 else { return nil }
    let texts: [(gnutls_certificate_status_t, String)] = [
      (GNUTLS_CERT_REVOKED, "revoked"), (GNUTLS_CERT_EXPIRED, "expired"), (GNUTLS_CERT_NOT_ACTIVATED, "not yet valid"),
      (GNUTLS_CERT_SIGNER_NOT_FOUND, "unknown issuer"), (GNUTLS_CERT_SIGNER_NOT_CA, "issuer is not a CA"),
      (GNUTLS_CERT_PURPOSE_MISMATCH, "not for clients"), (GNUTLS_CERT_INSECURE_ALGORITHM, "insecure algorithm"),
      (GNUTLS_CERT_SIGNATURE_FAILURE, "wrong signature"),
    ]
    return texts.first { status & $0.0.rawValue != 0 }?.1 ?? "invalid"
  }

  /// The verified certificate of the client; nil if it sent none, or one that is not valid. Valid after the handshake.
  public var clientCertificate: ClientCertificate? {
    clientFault == nil ? sentCertificate : nil
  }

  private var sentCertificate: ClientCertificate? {
    var count: UInt32 = 0
    guard let list = gnutls_certificate_get_peers(session, &count), count > 0 else { return nil }
    return ClientCertificate(UnsafeBufferPointer(start: list[0].data, count: Int(list[0].size)))
  }

  /// For the facts of the session; nil if no certificate was requested.
  func clientFacts(_ clients: ClientCertificates) -> TLSClientFacts? {
    guard clients.request != .ignored else { return nil }
    guard let certificate = sentCertificate else { return TLSClientFacts(.none) }
    if let clientFault { return TLSClientFacts(.failed(clientFault), digest: certificate.fingerprint) }
    return TLSClientFacts(
      .verified, digest: certificate.fingerprint, subject: certificate.subject, issuer: certificate.issuer,
      commonName: certificate.commonName, mailAddress: certificate.mailAddress)
  }
}

/// What is reported about a client's certificate.
public struct ClientCertificate: Hashable, Sendable {
  /// SHA-256 of the certificate, in lower-case hexadecimal digits.
  public let fingerprint: String
  /// The subject's distinguished name as in RFC 4514; nil if there is none, if it contains control characters, or if it
  /// is longer than 512 octets.
  public let subject: String?
  /// The issuer's, with the same limits.
  package let issuer: String?
  /// The first common name of the subject, at most 256 octets.
  package let commonName: String?
  /// The first mail address of the subject, at most 256 octets.
  package let mailAddress: String?

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
    subject = ClientCertificate.name { gnutls_x509_crt_get_dn3(certificate, $0, 0) }
    issuer = ClientCertificate.name { gnutls_x509_crt_get_issuer_dn3(certificate, $0, 0) }
    commonName = ClientCertificate.part(certificate, GNUTLS_OID_X520_COMMON_NAME)
    mailAddress = ClientCertificate.part(certificate, GNUTLS_OID_PKCS9_EMAIL)
  }

  private static func name(_ read: (UnsafeMutablePointer<gnutls_datum_t>) -> CInt) -> String? {
    var name = gnutls_datum_t()
    guard read(&name) >= 0, let data = name.data else { return nil }
    defer { shim_gnutls_free(data) }
    return text(UnsafeBufferPointer(start: data, count: Int(name.size)), limit: 512)
  }

  private static func part(_ certificate: gnutls_x509_crt_t, _ identifier: String) -> String? {
    var buffer = [UInt8](repeating: 0, count: 257)
    var size = buffer.count
    guard gnutls_x509_crt_get_dn_by_oid(certificate, identifier, 0, 0, &buffer, &size) >= 0, size <= buffer.count else { return nil }
    return buffer.withUnsafeBufferPointer { text(UnsafeBufferPointer(rebasing: $0[..<size]), limit: 256) }
  }

  /// nil unless it is UTF-8 of at most so many octets, without control characters.
  private static func text(_ octets: UnsafeBufferPointer<UInt8>, limit: Int) -> String? {
    guard !octets.isEmpty, octets.count <= limit, let text = String(validating: octets, as: UTF8.self) else { return nil }
    let isPlain = text.unicodeScalars.allSatisfy { $0.value >= 0x20 && !(0x7f...0x9f).contains($0.value) && $0.value != 0x2028 && $0.value != 0x2029 }
    return isPlain ? text : nil
  }
}
