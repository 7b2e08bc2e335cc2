// ClientTLS: the client's side of one TLS connection, without a socket.
//
// Octets for the server collect in `outgoing`, and octets of the server are given to `feed`: so a check can send the handshake in
// pieces of any size, or a ClientHello before its time. The server's certificate is not verified: a check of STARTTLS needs none,
// and the certificate has checks of its own (ServerCertificate.swift).

import CGnuTLS
import Glibc
import SMTPProbe
import Transport
import TransportTLS

final class ClientTLS {
  enum Handshake: Hashable {
    case established
    case wouldBlock
    /// The server ended it.
    case refused(String)
    /// The library ended it.
    case failed(String)
  }

  enum Read: Hashable {
    case octets([UInt8])
    case wouldBlock
    case ended
  }

  /// What has to be sent.
  private(set) var outgoing: [UInt8] = []
  /// What the server sent and the library has not read.
  private(set) var incoming: [UInt8] = []
  /// The server has ended its output.
  var hasEnded = false

  let session: gnutls_session_t
  private let credentials: gnutls_certificate_credentials_t
  /// Why the server's certificate did not reach the library.
  private var certificateFault: String?

  /// - Parameters:
  ///   - name: the server name to request; nil: none.
  ///   - earlier: the session to resume; nil: none.
  init(_ request: TLSRequest, name: String?, resuming earlier: [UInt8]?) throws(CheckFailure) {
    var created: gnutls_session_t?
    guard gnutls_init(&created, UInt32(GNUTLS_CLIENT) | UInt32(GNUTLS_NONBLOCK) | UInt32(GNUTLS_NO_SIGNAL)) >= 0, let created,
      case var allocated: gnutls_certificate_credentials_t? = nil, gnutls_certificate_allocate_credentials(&allocated) >= 0,
      let allocated
    else { throw CheckFailure("GnuTLS cannot make a session", ExitCode.system) }
    session = created
    credentials = allocated
    gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(credentials))
    guard gnutls_priority_set_direct(session, ClientTLS.priority(request.version), nil) >= 0 else {
      throw CheckFailure("GnuTLS on this machine does not have TLS \(request.version ?? "1.2")", ExitCode.system)
    }
    if let name { gnutls_server_name_set(session, GNUTLS_NAME_DNS, name, name.utf8.count) }
    if let alpn = request.alpn { offer(alpn) }
    // A session that the library refuses, such as one that has expired, is not offered.
    if let earlier { gnutls_session_set_data(session, earlier, earlier.count) }
    connectTransport()
    watchCertificates()
  }

  /// What is offered. With UNSAFE_RENEGOTIATION the library renegotiates also where the server does so without RFC 5746, which it
  /// would refuse otherwise: the server's weakness would look like its refusal.
  private static func priority(_ version: String?) -> String {
    let versions = version.map { "-VERS-ALL:+VERS-TLS\($0)" } ?? "-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
    // An old version has old signatures.
    let old = version == "1.0" || version == "1.1" ? ":+SHA1:+SIGN-RSA-SHA1:+SIGN-ECDSA-SHA1:%COMPAT" : ""
    return "NORMAL:\(versions)\(old):%UNSAFE_RENEGOTIATION"
  }

  /// False if the configuration of GnuTLS on this machine forbids the version.
  static func offers(_ version: String) -> Bool {
    var cache: gnutls_priority_t?
    guard gnutls_priority_init(&cache, priority(version), nil) >= 0 else { return false }
    gnutls_priority_deinit(cache)
    return true
  }

  deinit {
    gnutls_deinit(session)
    gnutls_certificate_free_credentials(credentials)
  }

  private func offer(_ name: String) {
    var octets = Array(name.utf8)
    octets.withUnsafeMutableBufferPointer {
      var datum = gnutls_datum_t(data: $0.baseAddress, size: UInt32($0.count))
      _ = gnutls_alpn_set_protocols(session, &datum, 1, 0)
    }
  }

  private func connectTransport() {
    gnutls_transport_set_ptr(session, Unmanaged.passUnretained(self).toOpaque())
    gnutls_transport_set_pull_function(session) { context, buffer, count in
      guard let context, let buffer else { return -1 }
      return Unmanaged<ClientTLS>.fromOpaque(context).takeUnretainedValue().pull(buffer, count)
    }
    gnutls_transport_set_push_function(session) { context, buffer, count in
      guard let context, let buffer else { return -1 }
      let tls = Unmanaged<ClientTLS>.fromOpaque(context).takeUnretainedValue()
      tls.outgoing += UnsafeRawBufferPointer(start: buffer, count: count)
      return count
    }
  }

  /// The library would verify a signature with whatever key the server sends: a deadline does not end that.
  private func watchCertificates() {
    gnutls_handshake_set_hook_function(session, shim_gnutls_any_message(), GNUTLS_HOOK_PRE) { session, type, _, incoming, message in
      guard incoming != 0, let session, let message, let context = gnutls_transport_get_ptr(session) else { return 0 }
      let octets = UnsafeBufferPointer(start: message.pointee.data, count: Int(message.pointee.size))
      guard let fault = PeerCertificates.fault(session, received: type, octets, isServer: true) else { return 0 }
      Unmanaged<ClientTLS>.fromOpaque(context).takeUnretainedValue().certificateFault = fault
      return GNUTLS_E_CERTIFICATE_ERROR
    }
  }

  private func pull(_ buffer: UnsafeMutableRawPointer, _ count: Int) -> Int {
    guard !incoming.isEmpty else {
      if hasEnded { return 0 }
      gnutls_transport_set_errno(session, EAGAIN)
      errno = EAGAIN
      return -1
    }
    let moved = min(count, incoming.count)
    incoming.withUnsafeBytes { buffer.copyMemory(from: $0.baseAddress!, byteCount: moved) }
    incoming.removeFirst(moved)
    return moved
  }

  func feed(_ octets: [UInt8]) { incoming += octets }

  func takeOutgoing() -> [UInt8] {
    defer { outgoing = [] }
    return outgoing
  }

  func handshake() -> Handshake {
    while true {
      let code = advance()
      switch code {
      case GNUTLS_E_SUCCESS: return .established
      case GNUTLS_E_AGAIN: return hasEnded ? .refused("the server closed the connection") : .wouldBlock
      case GNUTLS_E_INTERRUPTED, GNUTLS_E_WARNING_ALERT_RECEIVED: continue
      // The last one: an answer, mostly an alert, in a record of a version that was not offered.
      case GNUTLS_E_FATAL_ALERT_RECEIVED, GNUTLS_E_PREMATURE_TERMINATION, GNUTLS_E_PULL_ERROR, GNUTLS_E_UNSUPPORTED_VERSION_PACKET:
        return .refused(reason(code))
      default: return .failed(reason(code))
      }
    }
  }

  /// The library's handshake, as far as it comes with what has arrived. After a part of a message that is divided into records, it
  /// does not look at the next record by itself.
  private func advance() -> CInt {
    while true {
      let unread = incoming.count
      let code = gnutls_handshake(session)
      guard code == GNUTLS_E_AGAIN, incoming.count < unread else { return code }
    }
  }

  /// Deciphered octets.
  func read() -> Read {
    var buffer = [UInt8](repeating: 0, count: 16_384)
    while true {
      let unread = incoming.count
      let count = gnutls_record_recv(session, &buffer, buffer.count)
      if count > 0 { return .octets(Array(buffer.prefix(count))) }
      switch CInt(count) {
      // After a message of the handshake, such as a ticket, the library does not look at the next record by itself.
      case GNUTLS_E_AGAIN where incoming.count < unread: continue
      case GNUTLS_E_AGAIN: return hasEnded ? .ended : .wouldBlock
      // A client may ignore a request to renegotiate (RFC 5246, 7.4.1.1).
      case GNUTLS_E_INTERRUPTED, GNUTLS_E_WARNING_ALERT_RECEIVED, GNUTLS_E_REHANDSHAKE: continue
      default: return .ended
      }
    }
  }

  /// Enciphers octets into `outgoing`, which takes everything.
  func write(_ octets: [UInt8]) {
    var rest = octets[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { gnutls_record_send(session, $0.baseAddress, $0.count) }
      guard count > 0 else { return }
      rest = rest.dropFirst(count)
    }
  }

  /// Why the library failed; an alert by its name.
  private func reason(_ code: CInt) -> String {
    switch code {
    case GNUTLS_E_FATAL_ALERT_RECEIVED:
      let alert = gnutls_alert_get(session)
      return "alert \(alert.rawValue), \(gnutls_alert_get_name(alert).map { String(cString: $0) } ?? "unknown")"
    case GNUTLS_E_PREMATURE_TERMINATION, GNUTLS_E_PULL_ERROR: return "the server closed the connection"
    case GNUTLS_E_CERTIFICATE_ERROR where certificateFault != nil:
      return "the server's certificate is not accepted: \(certificateFault ?? "")"
    default: return gnutls_strerror(code).map { String(cString: $0) } ?? "error \(code)"
    }
  }
}

// MARK: - What can be asked

extension ClientTLS {
  /// Begins or continues a renegotiation that the client wants.
  ///
  /// - Returns: nil while the server has not answered; true if it was accepted.
  func renegotiate() -> Bool? {
    while true {
      switch advance() {
      case GNUTLS_E_SUCCESS: return true
      case GNUTLS_E_AGAIN: return hasEnded ? false : nil
      case GNUTLS_E_INTERRUPTED: continue
      default: return false
      }
    }
  }

  /// With what the session can be resumed: `ticket`; `identifier`, with the server's memory of it (TLS 1.2); or `none`. With TLS 1.3
  /// a ticket comes after the handshake.
  var ticket: String {
    let flag = UInt32(GNUTLS_SFLAGS_SESSION_TICKET.rawValue)
    if gnutls_session_get_flags(session) & flag != 0 { return "ticket" }
    guard gnutls_protocol_get_version(session) != GNUTLS_TLS1_3 else { return "none" }
    var identifier = gnutls_datum_t()
    return gnutls_session_get_id2(session, &identifier) >= 0 && identifier.size > 0 ? "identifier" : "none"
  }

  /// What `init` needs to resume the session; nil if it cannot be resumed.
  var resumption: [UInt8]? {
    // Without a ticket the library would wait for one.
    guard ticket != "none" else { return nil }
    var data = gnutls_datum_t()
    guard gnutls_session_get_data2(session, &data) >= 0, let octets = data.data else { return nil }
    defer { shim_gnutls_free(octets) }
    return Array(UnsafeBufferPointer(start: octets, count: Int(data.size)))
  }

  var isResumed: Bool { gnutls_session_is_resumed(session) != 0 }

  var isRenegotiationSafe: Bool { gnutls_safe_renegotiation_status(session) != 0 }

  /// The selected protocol; nil: none.
  var alpn: String? {
    var agreed = gnutls_datum_t()
    guard gnutls_alpn_get_selected_protocol(session, &agreed) >= 0, let data = agreed.data else { return nil }
    return OctetText.encoded(UnsafeBufferPointer(start: data, count: Int(agreed.size)))
  }
}
