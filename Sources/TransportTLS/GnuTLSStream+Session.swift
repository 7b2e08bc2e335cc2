// A session of the library: its settings before the handshake, and what was negotiated.

import CGnuTLS
import Transport

extension GnuTLSStream {
  /// Creates a session with all settings except the socket.
  static func session(
    _ credentials: TLSCredentials, _ priorities: TLSPriorities
  ) throws(TLSCredentialsError) -> gnutls_session_t {
    var flags = UInt32(GNUTLS_SERVER) | UInt32(GNUTLS_NONBLOCK) | UInt32(GNUTLS_NO_SIGNAL)
    if credentials.ticketKeys == nil { flags |= UInt32(GNUTLS_NO_TICKETS) }
    var created: gnutls_session_t?
    let code = gnutls_init(&created, flags)
    guard code >= 0, let session = created else { throw .library(libraryText(code)) }
    do {
      try check(gnutls_priority_set(session, priorities.parsed))
      try check(
        gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(credentials.names.fallback.certificates)))
      ask(session, forCertificate: credentials.clients)
      if credentials.names.isUsed { chooseByName(session, credentials) }
      replaceKeyLog(session)
      gnutls_handshake_set_max_packet_length(session, TLSLimits.handshakeMessage)
      try check(offerSMTP(session))
      if let keys = credentials.ticketKeys { try check(keys.current.enable(session)) }
    } catch {
      gnutls_deinit(session)
      throw error
    }
    return session
  }

  private static func check(_ code: CInt) throws(TLSCredentialsError) {
    guard code >= 0 else { throw .library(libraryText(code)) }
  }

  private static func offerSMTP(_ session: gnutls_session_t) -> CInt {
    var name: [UInt8] = Array("smtp".utf8)
    return name.withUnsafeMutableBufferPointer {
      var offer = gnutls_datum_t(data: $0.baseAddress, size: UInt32($0.count))
      return gnutls_alpn_set_protocols(session, &offer, 1, UInt32(GNUTLS_ALPN_MANDATORY.rawValue))
    }
  }

  func negotiated() -> TLSFacts {
    let version =
      switch gnutls_protocol_get_version(session) {
      case GNUTLS_TLS1_3: "TLSv1.3"
      case GNUTLS_TLS1_2: "TLSv1.2"
      case let other: gnutls_protocol_get_name(other).map { String(cString: $0) } ?? "unknown"
      }
    let cipher = gnutls_ciphersuite_get(session).map { String(cString: $0) } ?? "unknown"
    var agreed = gnutls_datum_t()
    let hasProtocol = gnutls_alpn_get_selected_protocol(session, &agreed) >= 0
    let octets = UnsafeBufferPointer(start: agreed.data, count: Int(agreed.size))
    var facts = TLSFacts(
      version: version, cipher: cipher, group: TLSGroup.name(gnutls_group_get(session)), serverName: requestedName(session),
      ignoredServerName: unusableServerName,
      applicationProtocol: hasProtocol ? String(decoding: octets, as: UTF8.self) : nil)
    facts.client = clientFacts(credentials.clients)
    let keySize = gnutls_cipher_get_key_size(gnutls_cipher_get(session))
    if keySize > 0 { facts.cipherBits = keySize * 8 }
    facts.isResumed = gnutls_session_is_resumed(session) != 0
    return facts
  }
}
