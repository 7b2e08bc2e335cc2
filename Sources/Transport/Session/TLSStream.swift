// TLSStream: what the driver needs of a TLS engine.
//
// The engine itself lives in a module of its own (TransportTLS), so that programs without TLS do not link a TLS
// library. The driver knows this protocol only. A stream owns what was handed over to it (a socket, or the channels to
// a helper that has the socket), never sets a status flag on it, and never waits: every call returns at once and says
// what it waits for.

/// One server-side TLS connection over descriptors that it owns.
public protocol TLSStream: AnyObject {
  /// The number to be polled for `direction` in the handshake, and from then on for reading. The stream owns it.
  var descriptor: CInt { get }

  /// The number to be polled for writing behind the handshake; that of `descriptor` unless said otherwise.
  var outputDescriptor: CInt { get }

  /// What the last `handshake`, `read` or `write` that answered `.wouldBlock` waits for.
  var direction: TLSDirection { get }

  /// Goes on with the handshake.
  func handshake() -> TLSHandshake

  /// Reads decrypted octets. `.ended` is a close_notify or, with `truncated` in `facts`, an end of file without one.
  func read(into buffer: UnsafeMutableRawBufferPointer) -> IOResult

  /// Encrypts and sends octets; how many were accepted. After `.wouldBlock` the next call must begin with the same
  /// octets (a stream that had to keep a record completes it first).
  func write(_ buffer: UnsafeRawBufferPointer) -> IOResult

  /// Whether octets or an end wait inside the engine, where poll cannot see them: read again.
  var hasPending: Bool { get }

  /// Ends the sending half: close_notify, where TLS stands, then the socket's.
  ///
  /// - Returns: whether it has ended. If not, the kernel does not take the close_notify yet: call again once
  ///   `outputDescriptor` is writable, and until a deadline of your own.
  func endSending() -> Bool

  /// Reads and throws away what the socket has, deciphered or not: only behind `endSending`.
  func discardInput(into buffer: UnsafeMutableRawBufferPointer) -> IOResult

  /// What was negotiated; meaningful once `handshake` answered `.established`.
  var facts: TLSFacts { get }
}

extension TLSStream {
  /// The same as `descriptor`: one socket, read and written.
  public var outputDescriptor: CInt { descriptor }
}

/// The direction of the socket that a TLS operation waits for.
public enum TLSDirection: Hashable, Sendable {
  /// Poll for reading.
  case read
  /// Poll for writing.
  case write
}

/// The answer to one step of a handshake.
public enum TLSHandshake: Hashable, Sendable {
  /// The handshake is complete.
  case established
  /// It waits for the socket, in `direction`.
  case wouldBlock
  /// It failed; the alert has been sent as far as the kernel took it. The text is one line for the operator.
  case failed(String)
}

/// What was negotiated, in the words of the `SSL_*` environment variables (mod_ssl, ucspi-tls).
public struct TLSFacts: Hashable, Sendable {
  /// `SSL_PROTOCOL`: `TLSv1.2` or `TLSv1.3`.
  public var version: String
  /// `SSL_CIPHER`, the IANA name of the cipher suite.
  public var cipher: String
  /// The name that the client asked for with SNI, already checked to be a DNS name (letters, digits, `-`, `.`; at most
  /// 253 octets), or nil.
  public var serverName: String?
  /// The name that the client asked for with SNI if it is no DNS name, as it came: to be escaped. At most its first 255
  /// octets. It chose no certificate. nil if the client asked for none, or for a `serverName`.
  public var ignoredServerName: [UInt8]?
  /// The ALPN protocol that was agreed on, or nil.
  public var applicationProtocol: String?
  /// Whether the client's octets ended without a close_notify, as far as they have ended.
  public var truncated = false

  /// What was negotiated, with nothing truncated so far.
  public init(
    version: String, cipher: String, serverName: String? = nil, ignoredServerName: [UInt8]? = nil,
    applicationProtocol: String? = nil
  ) {
    self.version = version
    self.cipher = cipher
    self.serverName = serverName
    self.ignoredServerName = ignoredServerName
    self.applicationProtocol = applicationProtocol
  }
}
