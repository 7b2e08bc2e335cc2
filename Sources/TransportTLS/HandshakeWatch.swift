// HandshakeWatch: looks at messages of the client before the library reads them. The library has one hook per session.

import CGnuTLS

extension GnuTLSStream {
  /// Installs the hook. The session must be connected to its stream.
  func watchHandshake() {
    gnutls_handshake_set_hook_function(session, shim_gnutls_any_message(), GNUTLS_HOOK_PRE) { session, type, _, incoming, message in
      guard incoming != 0, let session, let message, let context = gnutls_transport_get_ptr(session) else { return 0 }
      let stream = Unmanaged<GnuTLSStream>.fromOpaque(context).takeUnretainedValue()
      if type == GNUTLS_HANDSHAKE_CLIENT_HELLO.rawValue {
        stream.examineHello(message)
        return 0
      }
      let octets = UnsafeBufferPointer(start: message.pointee.data, count: Int(message.pointee.size))
      guard let fault = PeerCertificates.fault(session, received: type, octets, isServer: false) else { return 0 }
      stream.clientFault = fault
      return GNUTLS_E_CERTIFICATE_ERROR
    }
  }
}
