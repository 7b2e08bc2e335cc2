// OCSPResponse: a file with the status of a certificate (RFC 6960), which the server sends with it (RFC 6066, 8).
//
// The file is fetched by another program. A response is sent only if it says "good", is for one of the certificates, is
// signed by its issuer, and is valid now; the library stops sending it when it expires.

import CGnuTLS
import Glibc

/// A response that was read from a file.
final class OCSPResponse {
  let path: String
  private let response: gnutls_ocsp_resp_t
  /// In DER.
  private let octets: [UInt8]

  /// - Throws: `.badResponse` for a file that is no response, or the error of a responder.
  init(_ path: String, opening: (any CredentialOpening)?) throws(TLSCredentialsError) {
    self.path = path
    var created: gnutls_ocsp_resp_t?
    var code = gnutls_ocsp_resp_init(&created)
    guard code >= 0, let created else { throw .library(libraryText(code)) }
    do throws(TLSCredentialsError) {
      let file = try CredentialFile(path, opening: opening)
      let form = file.form
      code = file.withDatum { gnutls_ocsp_resp_import2(created, &$0, form) }
      guard code >= 0 else { throw .badResponse(path: path, libraryText(code)) }
      guard gnutls_ocsp_resp_get_status(created) == CInt(GNUTLS_OCSP_RESP_SUCCESSFUL.rawValue) else {
        throw .badResponse(path: path, "the responder reported an error")
      }
      var der = gnutls_datum_t()
      code = gnutls_ocsp_resp_export2(created, &der, GNUTLS_X509_FMT_DER)
      guard code >= 0, let data = der.data else { throw .badResponse(path: path, libraryText(code)) }
      octets = Array(UnsafeBufferPointer(start: data, count: Int(der.size)))
      shim_gnutls_free(data)
    } catch {
      gnutls_ocsp_resp_deinit(created)
      throw error
    }
    response = created
  }

  deinit { gnutls_ocsp_resp_deinit(response) }

  /// The maximum number of certificates that one response is examined for.
  private static let limit: UInt32 = 16

  /// True if it is about the server's own certificate of the chain.
  func isFor(_ chain: borrowing CertificateChain) -> Bool { index(of: chain) != nil }

  private func index(of chain: borrowing CertificateChain) -> UInt32? {
    for index in 0..<OCSPResponse.limit where gnutls_ocsp_resp_check_crt(response, index, chain.own) == 0 { return index }
    return nil
  }

  /// Why it is not sent with the chain; nil if it is.
  func trouble(for chain: borrowing CertificateChain) -> String? {
    guard let index = index(of: chain) else { return "it is about another certificate" }
    var status: UInt32 = 0
    var (from, until, revoked) = (time_t(), time_t(), time_t())
    let code = gnutls_ocsp_resp_get_single(
      response, index, nil, nil, nil, nil, &status, &from, &until, &revoked, nil)
    guard code >= 0 else { return libraryText(code) }
    switch status {
    case GNUTLS_OCSP_CERT_GOOD.rawValue: break
    case GNUTLS_OCSP_CERT_REVOKED.rawValue: return "the certificate was revoked on \(calendarDate(revoked))"
    default: return "the responder does not know the certificate"
    }
    let now = time(nil)
    guard from <= now else { return "it is valid only from \(calendarDate(from)) on" }
    // Without an end, the library sends it for 15 days.
    guard until == -1 || until > now else { return "it expired on \(calendarDate(until))" }
    guard let issuer = chain.issuer else { return "its issuer is not in the file of the certificate" }
    var verification: UInt32 = 0
    let verified = gnutls_ocsp_resp_verify_direct(response, issuer, &verification, 0)
    return verified >= 0 && verification == 0 ? nil : "it is not signed by the issuer of the certificate"
  }

  /// Adds it to the certificate with this index.
  func add(to certificates: gnutls_certificate_credentials_t, at index: UInt32) throws(TLSCredentialsError) {
    var octets = octets
    let code = octets.withUnsafeMutableBufferPointer {
      var datum = gnutls_datum_t(data: $0.baseAddress, size: UInt32($0.count))
      return gnutls_certificate_set_ocsp_status_request_mem(certificates, &datum, index, GNUTLS_X509_FMT_DER)
    }
    guard code >= 0 else { throw .badResponse(path: path, libraryText(code)) }
  }
}

extension CertificateChain {
  /// True if the certificate requires that an OCSP response is sent with it (must-staple, RFC 7633).
  var requiresResponse: Bool {
    var features: gnutls_x509_tlsfeatures_t?
    guard gnutls_x509_tlsfeatures_init(&features) >= 0, let features else { return false }
    defer { gnutls_x509_tlsfeatures_deinit(features) }
    guard gnutls_x509_crt_get_tlsfeatures(own, features, 0, nil) >= 0 else { return false }
    var index: UInt32 = 0
    var feature: UInt32 = 0
    while gnutls_x509_tlsfeatures_get(features, index, &feature) >= 0 {
      // status_request, RFC 6066.
      if feature == 5 { return true }
      index += 1
    }
    return false
  }
}
