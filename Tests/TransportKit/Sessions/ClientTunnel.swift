// ClientTunnel: what the client speaks after the 220: TLS with the engine, or the greeting that stands for TLS with a
// scripted helper.

import CGnuTLS
import Glibc

/// The client's side of what runs inside its connection.
protocol ClientTunnel: AnyObject {
  /// Whether the other side has proved to speak the same.
  var isEstablished: Bool { get }
  /// What came, deciphered.
  var received: [UInt8] { get }
  /// Whether the other side has sent its end.
  var hasEnded: Bool { get }
  /// What went wrong.
  var failure: String? { get }
  func say(_ octets: [UInt8])
  func endSending()
  /// Goes on; whether anything moved.
  func step() -> Bool
}

/// The client of a `ScriptedHelper`.
final class PlainTunnel: ClientTunnel {
  private let end: FarEnd
  private(set) var isEstablished = false
  private(set) var received: [UInt8] = []
  private(set) var failure: String?

  init(_ end: FarEnd) {
    self.end = end
    end.say(ScriptedHelper.hello)
  }

  var hasEnded: Bool { end.hasEnded }
  func say(_ octets: [UInt8]) { end.say(octets) }
  func endSending() { end.endSending() }

  func step() -> Bool {
    if !isEstablished {
      let hello = end.inbox.prefix(ScriptedHelper.hello.count)
      if !ScriptedHelper.hello.starts(with: hello) { failure = "clear text after the 220" }
      guard hello.count == ScriptedHelper.hello.count, failure == nil else { return false }
      _ = end.take(hello.count)
      isEstablished = true
      return true
    }
    let came = end.take()
    received += came
    return !came.isEmpty
  }
}

/// A GnuTLS client that reads and writes through a `FarEnd`.
final class TLSTunnel: ClientTunnel {
  private let end: FarEnd
  let session: gnutls_session_t
  private let credentials: gnutls_certificate_credentials_t
  private(set) var isEstablished = false
  private(set) var received: [UInt8] = []
  private(set) var hasEnded = false
  private(set) var failure: String?
  /// The first octet after the 220 has been looked at.
  private var isBegun = false

  /// - Parameter identity: gives the credentials a certificate, which is then sent whoever has issued it.
  init(
    _ end: FarEnd, priorities: String = "NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-X25519",
    identity: ((gnutls_certificate_credentials_t) -> Void)? = nil
  ) {
    self.end = end
    var created: gnutls_session_t?
    var allocated: gnutls_certificate_credentials_t?
    let flags = UInt32(GNUTLS_CLIENT) | UInt32(GNUTLS_NONBLOCK) | (identity == nil ? 0 : UInt32(GNUTLS_FORCE_CLIENT_CERT))
    guard gnutls_init(&created, flags) >= 0, let session = created,
      gnutls_certificate_allocate_credentials(&allocated) >= 0, let credentials = allocated
    else { fatalError("GnuTLS has no client") }
    self.session = session
    self.credentials = credentials
    gnutls_priority_set_direct(session, priorities, nil)
    identity?(credentials)
    gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(credentials))
    gnutls_transport_set_ptr(session, Unmanaged.passUnretained(self).toOpaque())
    gnutls_transport_set_pull_function(session) { context, buffer, count in
      guard let context, let buffer else { return -1 }
      let tunnel = Unmanaged<TLSTunnel>.fromOpaque(context).takeUnretainedValue()
      let came = tunnel.end.take(count)
      if came.isEmpty && !tunnel.end.hasEnded {
        gnutls_transport_set_errno(tunnel.session, EAGAIN)
        return -1
      }
      UnsafeMutableRawBufferPointer(start: buffer, count: count).copyBytes(from: came)
      return came.count
    }
    gnutls_transport_set_push_function(session) { context, buffer, count in
      guard let context, let buffer else { return -1 }
      let tunnel = Unmanaged<TLSTunnel>.fromOpaque(context).takeUnretainedValue()
      tunnel.end.say(UnsafeRawBufferPointer(start: buffer, count: count))
      return count
    }
  }

  deinit {
    gnutls_deinit(session)
    gnutls_certificate_free_credentials(credentials)
  }

  func say(_ octets: [UInt8]) {
    // One record a call.
    var rest = octets[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { gnutls_record_send(session, $0.baseAddress, $0.count) }
      guard count > 0 else { return }
      rest = rest.dropFirst(count)
    }
  }

  func endSending() {
    _ = gnutls_bye(session, GNUTLS_SHUT_WR)
    end.endSending()
  }

  func step() -> Bool {
    guard failure == nil, !hasEnded else { return false }
    // RFC 8446, 5.1: handshake, alert, change_cipher_spec, application data. Nothing else may come after the 220.
    if !isBegun, let first = end.inbox.first {
      isBegun = true
      if !(0x14...0x17).contains(first) { failure = "clear text after the 220" }
      return true
    }
    if !isEstablished {
      let code = gnutls_handshake(session)
      if code == GNUTLS_E_SUCCESS { isEstablished = true } else { fail(code) }
      return isEstablished
    }
    return receive()
  }

  private func receive() -> Bool {
    withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { buffer in
      let count = gnutls_record_recv(session, buffer.baseAddress, buffer.count)
      switch count {
      case 0: hasEnded = true
      case 1...: received += buffer.prefix(count)
      default: fail(CInt(count))
      }
      return count >= 0
    }
  }

  private func fail(_ code: CInt) {
    if code != GNUTLS_E_AGAIN && code != GNUTLS_E_INTERRUPTED { failure = String(cString: gnutls_strerror(code)) }
  }
}
