// GnuTLSStream: one server-side TLS connection with GnuTLS.
//
// The stream is created without a socket: the creation can fail, and it must happen before `220` is sent to STARTTLS.
// The socket is attached afterwards, and the stream then owns it. Octets are moved with MSG_DONTWAIT
// (TLSTransport.swift), so O_NONBLOCK neither matters nor changes. Instead of a socket the stream accepts two
// descriptors of any kind, for programs that cannot choose their standard input and output.
//
// TLS 1.2 and 1.3, as the priorities allow. ALPN `smtp`: a client that offers only other protocols is refused with an
// alert; a client without ALPN is accepted. Renegotiation ends the session. Deadlines are set by the caller.
//
// Failure: a fatal error is final. The matching alert is sent as far as the kernel accepts it, the sending half is shut
// down, and the input received so far is discarded: with unread input a close would send a reset that could overtake
// the alert. Every later call fails.

import CGnuTLS
import Glibc
public import Transport

/// A server-side TLS connection.
public final class GnuTLSStream: TLSStream {
  /// The descriptor to poll for reading: the socket, which is also polled for writing. -1 before `attach`.
  public private(set) var descriptor: CInt = -1

  /// The descriptor to poll for writing: `descriptor`, unless two were attached. -1 before `attach`.
  public private(set) var outputDescriptor: CInt = -1

  /// True if `endSending` sends close_notify. If false, only the sending half of the socket ends, and a strict client
  /// treats the data as truncated.
  public var sendsCloseNotify = true

  /// The negotiated parameters; empty strings before the handshake is complete.
  public internal(set) var facts = TLSFacts(version: "", cipher: "")

  /// Why the session failed, in one line for the operator; nil if it has not failed. The only text of the peer in it is
  /// a server name, which is escaped.
  public internal(set) var failure: String?

  /// The fatal alert that ended the session; nil if none was sent or received.
  public internal(set) var alert: TLSAlert?

  /// The last error of the socket.
  var socketError: SystemError?

  /// True if the client's octets have ended without close_notify. The library is not notified of that end: it would
  /// then refuse to send as well, but a client that ended its half may still get replies.
  var inputHasEnded = false

  /// The server name that the client requested, if it is not usable to choose a certificate, see
  /// UnusableServerName.swift.
  var unusableServerName: [UInt8]?
  /// True if the library must not receive a name that it would refuse.
  var toleratesServerNames = true
  /// Why the client's certificate is not valid; nil if it is, or if none was sent.
  var clientFault: String?
  /// True if a certificate that is not valid does not fail the handshake.
  var reportsClientFaults: Bool { credentials.clients.request == .reported }

  /// The file for the secrets of this session; nil for none. Set it before the handshake.
  package var keyLog: KeyLog?

  let session: gnutls_session_t
  let credentials: TLSCredentials
  private let priorities: TLSPriorities
  private var socket: Descriptor?
  /// Used in place of `socket` if two descriptors were attached.
  var separate: SeparateDescriptors?
  private var holdsRecord = false
  /// The last read met an end or a failure after the octets that it returned.
  private var holdsEnd = false
  private var hasEndedOutput = false
  private var warnings = 0
  /// How many more times the library may request octets from the kernel in this call, see `TLSLimits.pulls`.
  var pullsLeft = 0
  /// Octets that were received and that the library has not requested yet.
  var ahead = ByteQueue(capacity: TLSLimits.readAhead)
  /// How many more times the library may stop in this call while there are such octets. No record is shorter than its header.
  var stopsLeft = 0
  /// True if the last receiving call has returned all that had arrived.
  var isDrained = false
  /// Counts what the client sends.
  var meter = RecordMeter()
  /// The meter when the last data was received, or the handshake was complete.
  private var meterAtData = RecordMeter()

  /// Prepares a session; no socket is needed yet. Everything that can fail before a handshake fails here.
  ///
  /// - Parameters:
  ///   - credentials: the certificates and keys.
  ///   - priorities: what is accepted; nil for the profile `modern`. Many sessions may share one value.
  public init(_ credentials: TLSCredentials, _ priorities: TLSPriorities? = nil) throws(TLSCredentialsError) {
    self.credentials = credentials
    let priorities = if let priorities { priorities } else { try TLSPriorities.modern.get() }
    self.priorities = priorities
    session = try GnuTLSStream.session(credentials, priorities)
  }

  deinit {
    gnutls_deinit(session)
  }

  /// Takes ownership of the socket. Call it once; a second socket is closed and ignored.
  public func attach(_ socket: consuming Descriptor) {
    guard descriptor < 0 else { return }
    descriptor = socket.number
    outputDescriptor = socket.number
    self.socket = consume socket
    connectTransport()
  }

  /// Takes ownership of two descriptors of any kind in place of a socket: one to read and one to write. Both may be
  /// open on the same socket. Call it once, like `attach(_:)`.
  public func attach(reading input: consuming OctetStream, writing output: consuming OctetStream) {
    guard descriptor < 0 else { return }
    descriptor = input.descriptor.number
    outputDescriptor = output.descriptor.number
    separate = SeparateDescriptors(input, output)
    connectTransport()
  }

  /// What the last call that returned `.wouldBlock` waits for.
  public var direction: TLSDirection {
    gnutls_record_get_direction(session) == 0 ? .read : .write
  }

  /// True if there is something to read that poll does not see: octets that were received ahead, decrypted octets in the
  /// library, or an end that came with the octets of the last read.
  public var hasPending: Bool {
    holdsEnd || !ahead.isEmpty || gnutls_record_check_pending(session) > 0
  }

  /// Continues the handshake. It fails if no socket is attached.
  public func handshake() -> TLSHandshake {
    guard descriptor >= 0 else { return .failed("no socket is attached") }
    beginPulling()
    defer { ahead.releaseIfEmpty() }
    while failure == nil {
      let code = gnutls_handshake(session)
      switch code {
      case GNUTLS_E_SUCCESS where meter.exceedsHandshake:
        fail(GNUTLS_E_TOO_MANY_HANDSHAKE_PACKETS, "handshake")
      case GNUTLS_E_SUCCESS:
        facts = negotiated()
        meterAtData = meter
        acknowledge()
        return .established
      case GNUTLS_E_AGAIN where inputHasEnded:
        fail(GNUTLS_E_PREMATURE_TERMINATION, "handshake")
      case GNUTLS_E_AGAIN where meter.exceedsHandshake:
        fail(GNUTLS_E_TOO_MANY_HANDSHAKE_PACKETS, "handshake")
      case GNUTLS_E_AGAIN where hasStopped():
        continue
      case GNUTLS_E_AGAIN:
        return .wouldBlock
      case GNUTLS_E_INTERRUPTED:
        continue
      case GNUTLS_E_WARNING_ALERT_RECEIVED where warnings < TLSLimits.warnings:
        warnings += 1
      default:
        fail(code, "handshake")
      }
    }
    return .failed(failure ?? "")
  }

  /// Acknowledges the client's Finished now. No tickets are sent, so no octets of ours carry the acknowledgement. A
  /// client that waits for it before its next small segment (RFC 896) would lose 40 ms. It has an effect on TCP only.
  private func acknowledge() {
    try? Kernel.setOption(descriptor, CInt(IPPROTO_TCP), TCP_QUICKACK, 1)
  }

  /// Reads decrypted octets, of several records if they are small. After a fatal error it returns the socket's error,
  /// or EPROTO with the text in `failure`.
  public func read(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    guard buffer.count > 0 else { return .failed(SystemError("gnutls_record_recv", EINVAL)) }
    guard descriptor >= 0, failure == nil else { return failed("gnutls_record_recv") }
    beginPulling()
    defer { ahead.releaseIfEmpty() }
    holdsEnd = false
    var moved = 0
    while moved < buffer.count {
      switch receive(into: UnsafeMutableRawBufferPointer(rebasing: buffer[moved...])) {
      case .moved(let count): moved += count
      case let answer:
        guard moved > 0 else { return answer }
        // An end or a failure is final, and the next read returns it. The socket reports nothing more about it.
        holdsEnd = answer != .wouldBlock
        return .moved(moved)
      }
    }
    return .moved(moved)
  }

  /// True if the library has stopped after a record without data, and octets are left that poll does not see.
  private func hasStopped() -> Bool {
    guard !ahead.isEmpty, stopsLeft > 0, direction == .read else { return false }
    stopsLeft -= 1
    return true
  }

  /// Reads octets of one record.
  private func receive(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    while failure == nil {
      let code = gnutls_record_recv(session, buffer.baseAddress, buffer.count)
      if code > 0 {
        // Several records may have been received at once, these before the one with data.
        guard !meter.exceedsDataless(since: meterAtData, hasData: true) else {
          fail(GNUTLS_E_TOO_MANY_EMPTY_PACKETS, "reading")
          break
        }
        meterAtData = meter
        return .moved(code)
      }
      switch CInt(code) {
      case 0:
        return .ended
      case GNUTLS_E_AGAIN where inputHasEnded:
        facts.truncated = true
        return .ended
      case GNUTLS_E_AGAIN where meter.exceedsDataless(since: meterAtData):
        fail(GNUTLS_E_TOO_MANY_EMPTY_PACKETS, "reading")
      case GNUTLS_E_AGAIN where hasStopped():
        continue
      case GNUTLS_E_AGAIN:
        return .wouldBlock
      case GNUTLS_E_INTERRUPTED:
        continue
      case GNUTLS_E_WARNING_ALERT_RECEIVED where warnings < TLSLimits.warnings:
        warnings += 1
      case let code:
        fail(code, "reading")
      }
    }
    return failed("gnutls_record_recv")
  }

  /// Encrypts and sends octets. After `.wouldBlock` a record is held and is sent first: begin the next call with the
  /// same octets.
  public func write(_ octets: UnsafeRawBufferPointer) -> IOResult {
    guard descriptor >= 0, failure == nil else { return failed("gnutls_record_send") }
    guard octets.count > 0 else { return .moved(0) }
    while true {
      // A record that the kernel accepted only in part is completed unchanged; its octets are the first of these.
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

  /// Sends close_notify if TLS is established and `sendsCloseNotify` is true, and ends the sending half of the socket.
  ///
  /// - Returns: false while the kernel does not accept the close_notify.
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

  /// Ends the sending half of the attached descriptors.
  func endOutput() {
    hasEndedOutput = true
    if separate != nil {
      separate?.endOutput()
    } else {
      try? Kernel.shutdown(descriptor, CInt(SHUT_WR))
    }
  }

  /// Reads and discards input: inside TLS decrypted, so that a missing close_notify is seen.
  public func discardInput(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    if failure == nil, !facts.version.isEmpty { return read(into: buffer) }
    return discardOctets(into: buffer)
  }

  /// Reads and discards undecrypted input.
  func discardOctets(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    ahead.removeAll()
    ahead.releaseIfEmpty()
    if let answer = separate?.read(into: buffer) { return answer }
    return IOResult(reading: buffer.count) { () throws(SystemError) in
      try Kernel.recv(descriptor, buffer, CInt(MSG_DONTWAIT))
    }
  }
}
