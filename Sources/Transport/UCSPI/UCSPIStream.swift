// UCSPIStream: TLS by a UCSPI-TLS helper in another process.
//
// The handshake uses the control socket: `Y` is sent, and after the TLS handshake the helper reports the negotiated
// parameters. The report ends with a double NUL. The end of the socket is not awaited, because some helpers leave it
// open. An end before the double NUL means that there is no TLS. After the report, octets are read and written through
// the data descriptors. The client's connection belongs to the helper and is not used.
//
// Contract: before `handshake` is called, the client's connection is made blocking and closed in this process. Only the
// octets of the report up to the double NUL are taken, since the same socket may carry the octets inside TLS.

import Glibc

/// A TLS connection whose TLS engine is a helper.
public final class UCSPIStream: TLSStream {
  // Each is nil after it was closed: the control socket after the report (unless it is kept), the output after its end,
  // all of them when the channels are abandoned.
  private var control: Descriptor?
  private var input: OctetStream?
  private var output: OctetStream?
  private let keepsControl: Bool
  /// False if the octets inside TLS use the control socket.
  private let endsCommands: Bool

  private var isAsked = false
  private var isEstablished = false
  /// True after the sending half was ended: only the data input is read from then on.
  private var isEnded = false
  private var reader = UCSPIEnvironmentReader()
  private var progress = UCSPIEnvironmentReader.Progress.incomplete

  /// What the last call that returned `.wouldBlock` waits for.
  public private(set) var direction = TLSDirection.read
  /// What the helper reported; an invalid word is replaced by `?`.
  public private(set) var facts = TLSFacts(version: "?", cipher: "?")

  /// Takes ownership of the channels. Nothing is sent to the helper before the handshake.
  ///
  /// - Parameters:
  ///   - channels: this program's ends of the channels to the helper.
  ///   - keepsControl: true if the control socket stays open in both directions as long as the stream, for a helper
  ///     that treats its end as the end of the session. Otherwise its sending half is ended after the command, and the
  ///     socket is closed after the report.
  public init(_ channels: consuming UCSPIChannels, keepsControl: Bool) {
    self.keepsControl = keepsControl
    endsCommands = !keepsControl && !channels.isControlShared
    let control = channels.control
    let reading = channels.reading
    let writing = channels.writing
    self.control = consume control
    input = consume reading
    output = consume writing
  }

  /// The numbers of the control socket and of the data input and output; -1 for one that is not open.
  package var numbers: InlineArray<3, CInt> {
    [control?.openNumber() ?? -1, input?.openNumber() ?? -1, output?.openNumber() ?? -1]
  }

  /// The number of the control socket, which poll reports readable once the helper has ended; nil if it is closed.
  public var controlNumber: CInt? { control?.openNumber() }

  /// The control socket until the report has come, then the data input; -1 if that is closed.
  public var descriptor: CInt { (isEstablished || isEnded ? input?.openNumber() : control?.openNumber()) ?? -1 }
  /// The data output after the handshake, while it is open; else `descriptor`.
  public var outputDescriptor: CInt { (isEstablished ? output?.openNumber() : nil) ?? descriptor }
  /// Always false: decrypted octets wait in the kernel, where poll sees them.
  public var hasPending: Bool { false }

  /// True if the helper waits for its command: it has neither closed the control socket nor sent anything.
  public var isHelperWaiting: Bool {
    var octet: UInt8 = 0
    return !isAsked && withUnsafeMutableBytes(of: &octet) { peek(into: $0) } == .wouldBlock
  }

  /// Closes all channels. Before the handshake this tells the helper that there will be no TLS.
  public func abandon() {
    control = nil
    input = nil
    output = nil
  }

  // MARK: The dialogue

  /// Sends the command, once, and reads the report as far as it has come.
  public func handshake() -> TLSHandshake {
    if isEstablished { return .established }
    if !isAsked, let failure = ask() { return failure }
    while true {
      switch receiveReport() {
      case .moved: break
      case .wouldBlock:
        direction = .read
        return .wouldBlock
      case .ended: return .failed("the TLS helper ended without a report: the handshake failed, or the helper did")
      case .failed(let error): return .failed("the TLS helper is gone: \(error)")
      }
      switch progress {
      case .incomplete: break
      case .refused: return .failed("the TLS helper's report is too long or malformed")
      case .complete(let environment):
        establish(environment)
        return .established
      }
    }
  }

  /// Sends the command; nil if it was sent.
  private func ask() -> TLSHandshake? {
    let command = UInt8(ascii: "Y")
    switch withUnsafeBytes(of: command, { control?.sendOctets($0) }) {
    case .moved: break
    case .wouldBlock, .ended:
      direction = .write
      return .wouldBlock
    case .failed(let error): return .failed("the TLS helper takes no command: \(error)")
    case nil: return .failed("there is no TLS helper")
    }
    isAsked = true
    if endsCommands { control?.endSending() }
    return nil
  }

  /// Passes the next octets to the reader and takes those that it consumed.
  private func receiveReport() -> IOResult {
    withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { buffer in
      let answer = peek(into: buffer)
      guard case .moved(let count) = answer else { return answer }
      var taken = 0
      while taken < count, case .incomplete = progress {
        progress = reader.receive(CollectionOfOne(buffer[taken]))
        taken += 1
      }
      do throws(SystemError) {
        try control?.takeOctets(taken, into: buffer)
        return answer
      } catch {
        return .failed(error)
      }
    }
  }

  private func peek(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    control?.peekOctets(into: buffer) ?? .failed(SystemError("recv", EBADF))
  }

  private func establish(_ environment: UCSPIEnvironment) {
    func value(_ name: String) -> String? { environment.variables.last { $0.name == name }?.value }
    facts = TLSFacts(
      version: UCSPIStream.word(value("SSL_PROTOCOL")), cipher: UCSPIStream.word(value("SSL_CIPHER")),
      serverName: value("SSL_TLS_SNI_SERVERNAME").flatMap(UCSPIStream.hostName))
    isEstablished = true
    if !keepsControl { control = nil }
  }

  // MARK: Octets

  /// Reads what the helper has decrypted.
  public func read(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    direction = .read
    return input?.read(into: buffer) ?? .ended
  }

  /// Sends octets to the helper, which encrypts them.
  public func write(_ buffer: UnsafeRawBufferPointer) -> IOResult {
    direction = .write
    return output?.write(buffer) ?? .failed(SystemError("write", EPIPE))
  }

  /// Ends the data output: the helper reads its end and ends its half of TLS.
  public func endSending() -> Bool {
    isEnded = true
    output?.endSending()
    output = nil
    return true
  }

  /// Reads and discards what the helper has decrypted.
  public func discardInput(into buffer: UnsafeMutableRawBufferPointer) -> IOResult { input?.read(into: buffer) ?? .ended }

  // MARK: Text for the log

  /// A word of letters, digits and `.`, `_`, `-`, else `?`: the helper is another program, and the word goes into a
  /// log.
  private static func word(_ text: String?) -> String {
    guard let text, !text.isEmpty, text.utf8.count <= 64 else { return "?" }
    return text.utf8.allSatisfy { isLetterOrDigit($0) || [0x2D, 0x2E, 0x5F].contains($0) } ? text : "?"
  }

  /// A DNS name; nil for anything else.
  private static func hostName(_ text: String) -> String? {
    guard (1...253).contains(text.utf8.count) else { return nil }
    return text.utf8.allSatisfy { isLetterOrDigit($0) || $0 == 0x2D || $0 == 0x2E } ? text : nil
  }

  private static func isLetterOrDigit(_ octet: UInt8) -> Bool {
    switch octet {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
    default: false
    }
  }
}

// An Optional of a noncopyable value gives access to its payload only in mutating functions.

extension Descriptor {
  fileprivate mutating func openNumber() -> CInt { number }
  fileprivate mutating func sendOctets(_ octets: UnsafeRawBufferPointer) -> IOResult { send(octets) }
  fileprivate mutating func peekOctets(into buffer: UnsafeMutableRawBufferPointer) -> IOResult { peek(into: buffer) }
  fileprivate mutating func takeOctets(_ count: Int, into buffer: UnsafeMutableRawBufferPointer) throws(SystemError) {
    try take(exactly: count, into: buffer)
  }

  /// If the helper has already ended, reading its report shows that.
  fileprivate mutating func endSending() { try? shutdownSending() }
}

extension OctetStream {
  fileprivate mutating func openNumber() -> CInt { descriptor.number }

  /// Ends the sending half of a socket; that of a pipe ends with its descriptor.
  fileprivate mutating func endSending() {
    if kind == .socket { try? descriptor.shutdownSending() }
  }
}
