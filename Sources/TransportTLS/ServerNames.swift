// ServerNames: the server name that a client requests (SNI) and the certificate that it gets.
//
// The name is untrusted text of the client: only a DNS name counts, in lower case. Any other name has no effect, see
// UnusableServerName.swift.

import CGnuTLS

/// The server name that the client requested, in lower case; nil if it is missing or not a DNS name.
func requestedName(_ session: gnutls_session_t) -> String? {
  var octets = [UInt8](repeating: 0, count: 256)
  var length = octets.count
  var kind: UInt32 = 0
  guard gnutls_server_name_get(session, &octets, &length, &kind, 0) >= 0, length <= octets.count else { return nil }
  let name = String(decoding: octets.prefix(length), as: UTF8.self)
  return isDNSName(name) ? name.lowercased() : nil
}

extension GnuTLSStream {
  /// Chooses among the named certificates by the client's server name. The credentials must outlive the session.
  static func chooseByName(_ session: gnutls_session_t, _ credentials: TLSCredentials) {
    gnutls_session_set_ptr(session, Unmanaged.passUnretained(credentials).toOpaque())
    gnutls_handshake_set_post_client_hello_function(session) { session in
      guard let session, let context = gnutls_session_get_ptr(session) else { return GNUTLS_E_INTERNAL_ERROR }
      let credentials = Unmanaged<TLSCredentials>.fromOpaque(context).takeUnretainedValue()
      let name = requestedName(session)
      guard let chosen = credentials.certificates(for: name) else { return GNUTLS_E_UNRECOGNIZED_NAME }
      return gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(chosen))
    }
  }
}
