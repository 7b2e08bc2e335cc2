// UCSPIStream: TLS by a UCSPI-TLS helper in another process.
//
// The handshake is a dialogue on the control socket: `Y` is sent, and the helper answers with what was negotiated, once it
// has been. The answer ends with a double NUL; nobody waits for the end of the socket, which some helpers leave open. An
// end before the double NUL means that there is no TLS. Behind it, octets are read and written through the data's
// descriptors, and never through the client's connection, which is the helper's.
//
// Contract: the client's connection is closed in this process and blocking before `handshake` is called. Octets of the
// answer are taken one by one up to the double NUL, since the same socket may carry what is inside TLS.

import Glibc

/// A TLS connection that a helper speaks, or will speak once it is asked to.
public final class UCSPIStream: TLSStream {
  // Each is nil once it has been closed: the control socket behind the report (unless it is kept), the output behind its
  // end, all of them when the channels are abandoned.
  private var control: Descriptor?
  private var input: OctetStream?
  private var output: OctetStream?
  private let keepsControl: Bool
  /// Not where the octets inside TLS run over the control socket.
  private let endsCommands: Bool

  private var isAsked = false
  private var isEstablished = false
  /// The sending half was ended: only the data's input is read from here on.
  private var isEnded = false
  private var reader = UCSPIEnvironmentReader()
  private var progress = UCSPIEnvironmentReader.Progress.incomplete

  /// What the last call that answered `.wouldBlock` waits for.
  public private(set) var direction = TLSDirection.read
  /// What the helper reported, as far as it can be believed: a word that makes no sense is `?`.
  public private(set) var facts = TLSFacts(version: "?", cipher: "?")

  /// Takes the channels over. The helper is told nothing before the handshake.
  ///
  /// - Parameters:
  ///   - channels: this program's ends of the channels to the helper.
  ///   - keepsControl: whether the control socket stays open, both ways, as long as the stream: for a helper to which its
  ///     end is that of the session. Otherwise its writing half is ended behind the command, and the rest of it behind
  ///     the report.
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

  /// The numbers of the control socket and of the data's input and output; -1 in place of one that is not open.
  public var numbers: InlineArray<3, CInt> {
    [control?.openNumber() ?? -1, input?.openNumber() ?? -1, output?.openNumber() ?? -1]
  }

  /// The control socket's number, which polls readable once the helper is gone; nil once there is none.
  public var controlNumber: CInt? { control?.openNumber() }

  /// The control socket until the report has come, then the data's input; -1 where that is closed.
  public var descriptor: CInt { (isEstablished || isEnded ? input?.openNumber() : control?.openNumber()) ?? -1 }
  /// The data's output behind the handshake, where it is still open; else that of `descriptor`.
  public var outputDescriptor: CInt { (isEstablished ? output?.openNumber() : nil) ?? descriptor }
  /// Never: what was deciphered waits in the kernel, where poll sees it.
  public var hasPending: Bool { false }

  /// Whether the helper waits for its command: it has neither ended the control socket nor said anything.
  public var isHelperWaiting: Bool {
    var octet: UInt8 = 0
    return !isAsked && withUnsafeMutableBytes(of: &octet) { peek(into: $0) } == .wouldBlock
  }

  /// Closes all channels. Before the handshake that tells the helper that there will be none.
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
      case .refused: return .failed("the TLS helper's report is too long or makes no sense")
      case .complete(let environment):
        establish(environment)
        return .established
      }
    }
  }

  /// Sends the command; nil once it is sent.
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

  /// Shows the next octets to the reader and takes those that it needed.
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

  /// Reads what the helper has deciphered.
  public func read(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    direction = .read
    return input?.read(into: buffer) ?? .ended
  }

  /// Gives octets to the helper, which encrypts them.
  public func write(_ buffer: UnsafeRawBufferPointer) -> IOResult {
    direction = .write
    return output?.write(buffer) ?? .failed(SystemError("write", EPIPE))
  }

  /// Ends the data's output: the helper reads its end and ends its half of TLS.
  public func endSending() -> Bool {
    isEnded = true
    output?.endSending()
    output = nil
    return true
  }

  /// Reads and throws away what the helper has deciphered.
  public func discardInput(into buffer: UnsafeMutableRawBufferPointer) -> IOResult { input?.read(into: buffer) ?? .ended }

  // MARK: What the log gets

  /// A word of letters, digits and `.`, `_`, `-`, or `?`: the helper is another program, and its words end in a log.
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

// An Optional of a noncopyable value lends its payload only to what is mutating in form.

extension Descriptor {
  fileprivate mutating func openNumber() -> CInt { number }
  fileprivate mutating func sendOctets(_ octets: UnsafeRawBufferPointer) -> IOResult { send(octets) }
  fileprivate mutating func peekOctets(into buffer: UnsafeMutableRawBufferPointer) -> IOResult { peek(into: buffer) }
  fileprivate mutating func takeOctets(_ count: Int, into buffer: UnsafeMutableRawBufferPointer) throws(SystemError) {
    try take(exactly: count, into: buffer)
  }

  /// A helper that is gone already shows when its report is read.
  fileprivate mutating func endSending() { try? shutdownSending() }
}

extension OctetStream {
  fileprivate mutating func openNumber() -> CInt { descriptor.number }

  /// Ends a socket's sending half; a pipe's ends with its descriptor.
  fileprivate mutating func endSending() {
    if kind == .socket { try? descriptor.shutdownSending() }
  }
}
