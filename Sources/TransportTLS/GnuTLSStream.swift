// GnuTLSStream: one server-side TLS connection on GnuTLS.
//
// It is made without a socket, because making it can fail and `220` to STARTTLS must not be sent before that; the
// socket is attached afterwards. From then on the stream owns it. It moves octets with MSG_DONTWAIT, see
// TLSTransport.swift, and so neither knows nor changes O_NONBLOCK. Instead of a socket it takes two descriptors of any
// kind, for programs that cannot choose what their standard input and output are.
//
// TLS 1.2 and 1.3 as the priorities allow. ALPN `smtp`: a client that offers only other protocols is refused with an
// alert; one that offers none is fine. Renegotiation ends the session. A fatal error is final: the matching alert is
// sent as far as the kernel takes it, the sending half is shut down, what has arrived is discarded (closing would
// otherwise become a reset that overtakes the alert), and every later call fails. Deadlines are the caller's.

import CGnuTLS
import Glibc
public import Transport

/// A server-side TLS connection.
public final class GnuTLSStream: TLSStream {
  /// The number to be polled for reading; that of the socket, which is also polled for writing. -1 before `attach`.
  public private(set) var descriptor: CInt = -1

  /// The number to be polled for writing: `descriptor` unless two were attached. -1 before `attach`.
  public private(set) var outputDescriptor: CInt = -1

  /// Whether `endSending` says close_notify. Without it only the socket's sending half ends, and a client that is
  /// strict calls what it got truncated.
  public var sendsCloseNotify = true

  /// What was negotiated; empty words before the handshake is complete.
  public private(set) var facts = TLSFacts(version: "", cipher: "")

  /// Why the session failed, in one line for the operator; nil while it has not. Of what the peer chose there is at most
  /// a server name in it, escaped.
  public private(set) var failure: String?

  /// The last error of the socket itself.
  var socketError: SystemError?

  /// Whether the client's octets have ended without close_notify. The library is not told: it would then refuse to send
  /// as well, and a client that ended its half may still be answered.
  var inputHasEnded = false

  /// The server name that the client asked for, if it is none that can choose a certificate, see UnusableServerName.swift.
  var unusableServerName: [UInt8]?
  /// Whether a name that the library refuses is to be kept from it.
  var toleratesServerNames = true

  let session: gnutls_session_t
  private let credentials: TLSCredentials
  private var socket: Descriptor?
  /// In place of `socket`, when two descriptors were attached.
  var separate: SeparateDescriptors?
  private var holdsRecord = false
  /// The last read saw an end or a failure after the octets that it answered with.
  private var holdsEnd = false
  private var hasEndedOutput = false
  private var warnings = 0
  /// How often the library may still ask the kernel for octets in this call of ours, see `pullsLimit`.
  var pullsLeft = 0

  /// How many warning alerts a client may send during the handshake.
  private static let warningLimit = 4

  /// The longest handshake message that is accepted, in octets. A ClientHello with post-quantum keys has about 2,000.
  private static let handshakeMessageLimit = 65_536

  /// How often the library may ask for octets in one handshake step or read: twice a record. A client that sends very many
  /// small records, empty ones among them, would otherwise keep everybody else waiting. What is left stays in the
  /// kernel, where poll sees it.
  private static let pullsLimit = 64

  /// Prepares a session; no socket is needed yet. Whatever can fail before a handshake fails here.
  public init(_ credentials: TLSCredentials) throws(TLSCredentialsError) {
    self.credentials = credentials
    session = try GnuTLSStream.session(credentials)
  }

  deinit {
    gnutls_deinit(session)
  }

  /// Takes the socket over. Once; a second socket would be closed and ignored.
  public func attach(_ socket: consuming Descriptor) {
    guard descriptor < 0 else { return }
    descriptor = socket.number
    outputDescriptor = socket.number
    self.socket = consume socket
    connectTransport()
  }

  /// Takes two descriptors of any kind over, in place of a socket: one that is read and one that is written. Both may be
  /// open on the same socket. Once, like `attach(_:)`.
  public func attach(reading input: consuming OctetStream, writing output: consuming OctetStream) {
    guard descriptor < 0 else { return }
    descriptor = input.descriptor.number
    outputDescriptor = output.descriptor.number
    separate = SeparateDescriptors(input, output)
    connectTransport()
  }

  /// What the last call that answered `.wouldBlock` waits for.
  public var direction: TLSDirection {
    gnutls_record_get_direction(session) == 0 ? .read : .write
  }

  /// Whether there is something to read that poll does not see: decrypted octets in the library, or an end that came with
  /// the octets of the last read.
  public var hasPending: Bool {
    holdsEnd || gnutls_record_check_pending(session) > 0
  }

  /// Goes on with the handshake. Without a socket it fails.
  public func handshake() -> TLSHandshake {
    guard descriptor >= 0 else { return .failed("no socket is attached") }
    pullsLeft = GnuTLSStream.pullsLimit
    while failure == nil {
      let code = gnutls_handshake(session)
      switch code {
      case GNUTLS_E_SUCCESS:
        facts = negotiated()
        acknowledge()
        return .established
      case GNUTLS_E_AGAIN where inputHasEnded:
        fail(GNUTLS_E_PREMATURE_TERMINATION, "handshake")
      case GNUTLS_E_AGAIN:
        return .wouldBlock
      case GNUTLS_E_INTERRUPTED:
        continue
      case GNUTLS_E_WARNING_ALERT_RECEIVED where warnings < GnuTLSStream.warningLimit:
        warnings += 1
      default:
        fail(code, "handshake")
      }
    }
    return .failed(failure ?? "")
  }

  /// Acknowledges the client's Finished now. Nothing of ours carries the acknowledgement, since no tickets are sent, and a
  /// client that waits for it before its next small segment (RFC 896) would lose 40 ms. Means nothing but on TCP.
  private func acknowledge() {
    try? Kernel.setOption(descriptor, CInt(IPPROTO_TCP), TCP_QUICKACK, 1)
  }

  /// Reads decrypted octets, of several records if they are small. After a fatal error it answers the socket's error, or EPROTO with the words in
  /// `failure`.
  public func read(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    guard buffer.count > 0 else { return .failed(SystemError("gnutls_record_recv", EINVAL)) }
    guard descriptor >= 0, failure == nil else { return failed("gnutls_record_recv") }
    pullsLeft = GnuTLSStream.pullsLimit
    holdsEnd = false
    var moved = 0
    while moved < buffer.count {
      switch receive(into: UnsafeMutableRawBufferPointer(rebasing: buffer[moved...])) {
      case .moved(let count): moved += count
      case let answer:
        guard moved > 0 else { return answer }
        // An end or a failure is final: the next read answers with it. The socket has nothing more to tell of it.
        holdsEnd = answer != .wouldBlock
        return .moved(moved)
      }
    }
    return .moved(moved)
  }

  /// Reads octets of one record.
  private func receive(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    while failure == nil {
      let code = gnutls_record_recv(session, buffer.baseAddress, buffer.count)
      if code > 0 { return .moved(code) }
      switch CInt(code) {
      case 0:
        return .ended
      case GNUTLS_E_AGAIN where inputHasEnded:
        facts.truncated = true
        return .ended
      case GNUTLS_E_AGAIN:
        return .wouldBlock
      case GNUTLS_E_INTERRUPTED:
        continue
      case GNUTLS_E_WARNING_ALERT_RECEIVED where warnings < GnuTLSStream.warningLimit:
        warnings += 1
      case let code:
        fail(code, "reading")
      }
    }
    return failed("gnutls_record_recv")
  }

  /// Encrypts and sends octets. After `.wouldBlock` a record is held and goes out first: begin the next call with the
  /// same octets.
  public func write(_ octets: UnsafeRawBufferPointer) -> IOResult {
    guard descriptor >= 0, failure == nil else { return failed("gnutls_record_send") }
    guard octets.count > 0 else { return .moved(0) }
    while true {
      // A record that the kernel did not take whole is completed as it is; its octets are the first of these.
      let code =
        holdsRecord
        ? gnutls_record_send(session, nil, 0)
        : gnutls_record_send(session, octets.baseAddress, octets.count)
      if code >= 0 {
        holdsRecord = false
        return .moved(min(code, octets.count))
      }
      switch CInt(code) {
      case GNUTLS_E_AGAIN:
        holdsRecord = true
        return .wouldBlock
      case GNUTLS_E_INTERRUPTED:
        holdsRecord = true
      case let code:
        fail(code, "writing")
        return failed("gnutls_record_send")
      }
    }
  }

  /// Sends close_notify where TLS stands, unless `sendsCloseNotify` is false, and ends the sending half of the socket.
  ///
  /// - Returns: false while the kernel does not take the close_notify.
  public func endSending() -> Bool {
    guard descriptor >= 0, !hasEndedOutput else { return true }
    if failure == nil, !facts.version.isEmpty, sendsCloseNotify {
      var code: CInt
      repeat { code = gnutls_bye(session, GNUTLS_SHUT_WR) } while code == GNUTLS_E_INTERRUPTED
      if code == GNUTLS_E_AGAIN { return false }
    }
    endOutput()
    return true
  }

  /// Ends the sending half of whatever is attached.
  private func endOutput() {
    hasEndedOutput = true
    if separate != nil {
      separate?.endOutput()
    } else {
      try? Kernel.shutdown(descriptor, CInt(SHUT_WR))
    }
  }

  /// Reads and throws away what the socket has, as it came.
  public func discardInput(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    if let answer = separate?.read(into: buffer) { return answer }
    return IOResult(reading: buffer.count) { () throws(SystemError) in
      try Kernel.recv(descriptor, buffer, CInt(MSG_DONTWAIT))
    }
  }
}

// MARK: - Set-up and facts

extension GnuTLSStream {
  /// A session with everything set but the socket.
  private static func session(_ credentials: TLSCredentials) throws(TLSCredentialsError) -> gnutls_session_t {
    var flags = UInt32(GNUTLS_SERVER) | UInt32(GNUTLS_NONBLOCK) | UInt32(GNUTLS_NO_SIGNAL)
    if !credentials.tickets { flags |= UInt32(GNUTLS_NO_TICKETS) }
    var created: gnutls_session_t?
    let code = gnutls_init(&created, flags)
    guard code >= 0, let session = created else { throw .library(libraryText(code)) }
    do {
      try check(gnutls_priority_set(session, credentials.priorities))
      try check(
        gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(credentials.certificates)))
      ask(session, forCertificate: credentials.clients)
      if credentials.isNamed { chooseByName(session, credentials) }
      gnutls_handshake_set_max_packet_length(session, handshakeMessageLimit)
      try check(offerSMTP(session))
      if credentials.tickets { try check(credentials.enableTickets(session)) }
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

  private func negotiated() -> TLSFacts {
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
    return TLSFacts(
      version: version, cipher: cipher, serverName: requestedName(session), ignoredServerName: unusableServerName,
      applicationProtocol: hasProtocol ? String(decoding: octets, as: UTF8.self) : nil)
  }

}

// MARK: - Failure

extension GnuTLSStream {
  /// Makes an error final: alert, half-close, discard what has arrived.
  private func fail(_ code: CInt, _ doing: String) {
    failure = "TLS \(doing): \(reason(code))"
    switch code {
    case GNUTLS_E_PREMATURE_TERMINATION, GNUTLS_E_PULL_ERROR, GNUTLS_E_PUSH_ERROR, GNUTLS_E_FATAL_ALERT_RECEIVED:
      break
    case GNUTLS_E_REHANDSHAKE:
      _ = gnutls_alert_send(session, GNUTLS_AL_FATAL, GNUTLS_A_NO_RENEGOTIATION)
    default:
      _ = gnutls_alert_send_appropriate(session, code)
    }
    halfClose()
  }

  private func reason(_ code: CInt) -> String {
    switch code {
    case GNUTLS_E_PREMATURE_TERMINATION, GNUTLS_E_PULL_ERROR, GNUTLS_E_PUSH_ERROR:
      // The library calls a reset premature as well; the socket knows better.
      return socketError?.description ?? "the client closed the connection"
    case GNUTLS_E_FATAL_ALERT_RECEIVED, GNUTLS_E_WARNING_ALERT_RECEIVED:
      let alert = gnutls_alert_get(session)
      let name = gnutls_alert_get_name(alert).map { String(cString: $0) } ?? "unknown"
      return "the client sent alert \(alert.rawValue) (\(name))"
    case GNUTLS_E_REHANDSHAKE:
      return "the client asked for a renegotiation"
    case GNUTLS_E_RECEIVED_DISALLOWED_NAME:
      return "the client asked for server name \(SessionLine.quoted(unusableServerName ?? [])), which GnuTLS refuses"
    default:
      return libraryText(code)
    }
  }

  /// Shuts the sending half down and discards at most 64 KiB that have arrived. Does not wait.
  private func halfClose() {
    endOutput()
    withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { scratch in
      for _ in 0..<16 {
        guard case .moved = discardInput(into: scratch) else { return }
      }
    }
  }

  /// What a call answers once the session has failed: the socket's error, or EPROTO with the words in `failure`.
  private func failed(_ call: String) -> IOResult {
    if failure == nil { return .failed(SystemError(call, ENOTCONN)) }
    return .failed(socketError ?? SystemError(call, EPROTO))
  }
}
