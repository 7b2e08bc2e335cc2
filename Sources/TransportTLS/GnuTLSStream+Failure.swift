// The end of a session by an error: its alert, its text, and the half-close.

import CGnuTLS
import Glibc
import Transport

extension GnuTLSStream {
  /// Makes an error final: alert, half-close, discard the input received so far.
  func fail(_ code: CInt, _ doing: String) {
    failure = "TLS \(doing): \(reason(code))"
    switch code {
    case GNUTLS_E_PREMATURE_TERMINATION, GNUTLS_E_PULL_ERROR, GNUTLS_E_PUSH_ERROR:
      break
    case GNUTLS_E_FATAL_ALERT_RECEIVED:
      alert = TLSAlert(gnutls_alert_get(session), isSent: false)
    case GNUTLS_E_REHANDSHAKE:
      alert = TLSAlert(GNUTLS_A_NO_RENEGOTIATION, isSent: true)
      _ = gnutls_alert_send(session, GNUTLS_AL_FATAL, GNUTLS_A_NO_RENEGOTIATION)
    case GNUTLS_E_TOO_MANY_HANDSHAKE_PACKETS, GNUTLS_E_TOO_MANY_EMPTY_PACKETS, GNUTLS_E_WARNING_ALERT_RECEIVED:
      // A limit of ours; the library would report an internal error.
      alert = TLSAlert(GNUTLS_A_UNEXPECTED_MESSAGE, isSent: true)
      _ = gnutls_alert_send(session, GNUTLS_AL_FATAL, GNUTLS_A_UNEXPECTED_MESSAGE)
    default:
      // The same choice as that of the library.
      var level: CInt = 0
      let number = gnutls_error_to_alert(code, &level)
      if number >= 0 { alert = TLSAlert(gnutls_alert_description_t(UInt32(number)), isSent: true) }
      _ = gnutls_alert_send_appropriate(session, code)
    }
    halfClose()
  }

  private func reason(_ code: CInt) -> String {
    switch code {
    case GNUTLS_E_PREMATURE_TERMINATION, GNUTLS_E_PULL_ERROR, GNUTLS_E_PUSH_ERROR:
      // The library reports a reset as premature as well; the socket has the exact error.
      return socketError?.description ?? "the client closed the connection"
    case GNUTLS_E_FATAL_ALERT_RECEIVED, GNUTLS_E_WARNING_ALERT_RECEIVED:
      let alert = gnutls_alert_get(session)
      let name = gnutls_alert_get_name(alert).map { String(cString: $0) } ?? "unknown"
      return "the client sent alert \(alert.rawValue) (\(name))"
    case GNUTLS_E_REHANDSHAKE:
      return "the client asked for a renegotiation"
    case GNUTLS_E_TOO_MANY_HANDSHAKE_PACKETS where facts.version.isEmpty:
      return "the client sent more than \(TLSLimits.handshakeRecords) records or \(TLSLimits.handshakeOctets) octets for a handshake"
    case GNUTLS_E_TOO_MANY_HANDSHAKE_PACKETS:
      return "the client updated its keys too often"
    case GNUTLS_E_TOO_MANY_EMPTY_PACKETS:
      return "the client sent more than \(TLSLimits.recordsWithoutData) records or \(TLSLimits.octetsWithoutData) octets without data"
    case GNUTLS_E_RECEIVED_DISALLOWED_NAME:
      return "the client asked for server name \(SessionLine.quoted(unusableServerName ?? [])), which GnuTLS refuses"
    case GNUTLS_E_CERTIFICATE_ERROR:
      return clientFault.map { "the client's certificate is not accepted: \($0)" } ?? libraryText(code)
    default:
      return libraryText(code)
    }
  }

  /// Shuts down the sending half and discards at most 64 KiB of received input. Does not wait.
  func halfClose() {
    endOutput()
    withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { scratch in
      for _ in 0..<16 {
        guard case .moved = discardOctets(into: scratch) else { return }
      }
    }
  }

  /// The result of a call after the session has failed: the socket's error, or EPROTO with the text in `failure`.
  func failed(_ call: String) -> IOResult {
    if failure == nil { return .failed(SystemError(call, ENOTCONN)) }
    return .failed(socketError ?? SystemError(call, EPROTO))
  }
}
