// TLSStream: the interface between the driver and a TLS engine.
//
// The engine is in a separate module (TransportTLS), so that programs without TLS do not link a TLS library. The driver
// knows only this protocol. A stream owns what it was given: a socket, or the channels to a helper that has the socket.
// It never sets a status flag on it. It never waits: each call returns at once and reports what it waits for.

/// One server-side TLS connection over descriptors that it owns.
public protocol TLSStream: AnyObject {
  /// The descriptor to poll for `direction` during the handshake, and for reading after it. The stream owns it.
  var descriptor: CInt { get }

  /// The descriptor to poll for writing after the handshake. The default is `descriptor`.
  var outputDescriptor: CInt { get }

  /// What the last `handshake`, `read` or `write` that returned `.wouldBlock` waits for.
  var direction: TLSDirection { get }

  /// Continues the handshake. The first call comes when `descriptor` reports an event, or at once if it is not the client's socket, or
  /// if the stream waits to write.
  func handshake() -> TLSHandshake

  /// Reads decrypted octets. `.ended` means a close_notify or, if `facts` has `truncated`, an end of file without one.
  func read(into buffer: UnsafeMutableRawBufferPointer) -> IOResult

  /// Encrypts and sends octets; returns how many were accepted. After `.wouldBlock` the next call must begin with the
  /// same octets: a stream that had to keep a record completes that record first.
  func write(_ buffer: UnsafeRawBufferPointer) -> IOResult

  /// True if the engine holds octets or an end, where poll cannot see them: read again.
  var hasPending: Bool { get }

  /// Ends the sending half: close_notify if TLS is established, then the sending half of the socket.
  ///
  /// - Returns: true if the half has ended. False if the kernel does not accept the close_notify yet: call again once
  ///   `outputDescriptor` is writable, and set a deadline of your own.
  func endSending() -> Bool

  /// Reads and discards the input of the socket, decrypted or not. Call it only after `endSending`.
  func discardInput(into buffer: UnsafeMutableRawBufferPointer) -> IOResult

  /// The negotiated parameters; valid after `handshake` returned `.established`.
  var facts: TLSFacts { get }

  /// Why TLS failed, in one line for the operator; nil if it has not failed, or if the stream does not know.
  var failure: String? { get }
}

extension TLSStream {
  /// The default is `descriptor`: one socket for both directions.
  public var outputDescriptor: CInt { descriptor }

  /// The default is nil.
  public var failure: String? { nil }
}

/// The direction of the socket that a TLS operation waits for.
public enum TLSDirection: Hashable, Sendable {
  /// Poll for reading.
  case read
  /// Poll for writing.
  case write
}

/// The result of one step of a handshake.
public enum TLSHandshake: Hashable, Sendable {
  /// The handshake is complete.
  case established
  /// The handshake waits for the socket, in `direction`.
  case wouldBlock
  /// The handshake failed. The alert was sent as far as the kernel accepted it. The text is one line for the operator.
  case failed(String)
}

/// The negotiated parameters, with the names of the `SSL_*` environment variables (mod_ssl, ucspi-tls).
public struct TLSFacts: Hashable, Sendable {
  /// `SSL_PROTOCOL`: `TLSv1.2` or `TLSv1.3`.
  public var version: String
  /// `SSL_CIPHER`: the IANA name of the cipher suite.
  public var cipher: String
  /// The registered name of the group of the key exchange, such as `x25519`; nil if the TLS layer does not report it.
  public var group: String?
  /// The server name that the client requested with SNI, checked to be a DNS name (letters, digits, `-`, `.`; at most
  /// 253 octets), or nil.
  public var serverName: String?
  /// The SNI name if it is not a DNS name, unescaped: escape it before use. At most its first 255 octets. It was not
  /// used to choose a certificate. nil if the client sent no SNI, or if `serverName` is set.
  public var ignoredServerName: [UInt8]?
  /// The negotiated ALPN protocol, or nil.
  public var applicationProtocol: String?
  /// True if the client's octets have ended without a close_notify.
  public var truncated = false
  /// What is known of the client's certificate; nil if none was requested.
  package var client: TLSClientFacts?
  /// The size of the cipher's key in bits, or nil.
  package var cipherBits: Int?
  /// True if an earlier session was resumed.
  package var isResumed = false

  /// Creates the facts of a connection that is not truncated so far.
  public init(
    version: String, cipher: String, group: String? = nil, serverName: String? = nil, ignoredServerName: [UInt8]? = nil,
    applicationProtocol: String? = nil
  ) {
    self.version = version
    self.cipher = cipher
    self.group = group
    self.serverName = serverName
    self.ignoredServerName = ignoredServerName
    self.applicationProtocol = applicationProtocol
  }
}
