// TLSPeer: a TLS client over whatever two descriptors the test chose. TLS is computed by a TLSEngine.

import CKernel
import Glibc

final class TLSPeer {
  /// How the server's octets ended.
  enum End: Hashable {
    case closeNotify, bare, reset
  }

  let input: TestDescriptor
  let output: TestDescriptor
  private let engine: TLSEngine
  private var session: UInt32?
  private var plain: [UInt8] = []
  private var isNotified = false
  private(set) var end: End?

  init(_ input: TestDescriptor, _ output: TestDescriptor, _ engine: TLSEngine) {
    self.input = input
    self.output = output
    self.engine = engine
  }

  deinit {
    if let session { engine.forget(session) }
  }

  /// The whole handshake.
  func handshake(_ version: String = "3", serverName: String = "mx.example") throws {
    let begun = try engine.begin(serverName: serverName, version: version)
    session = begun.number
    var answer = begun.answer
    while true {
      output.write(answer.cipher)
      switch answer.state {
      case .open: return
      case .failed, .ended: throw Failure("handshake: \(String(decoding: answer.plain, as: UTF8.self))")
      case .handshaking:
        let octets = try input.read()
        guard !octets.isEmpty else { throw Failure("the server ended in the handshake") }
        answer = try engine.received(begun.number, octets)
        plain += answer.plain
      }
    }
  }

  var facts: String { get throws { try engine.facts(number) } }

  @discardableResult
  func send(_ octets: [UInt8]) throws -> Bool { output.write(try engine.encipher(number, octets).cipher) }

  /// Sends as much of a record as the kernel takes at once.
  func offer(_ octets: [UInt8]) throws {
    let cipher = try engine.encipher(number, octets).cipher
    _ = cipher.withUnsafeBytes { Glibc.send(output.number, $0.baseAddress, $0.count, CInt(MSG_DONTWAIT | MSG_NOSIGNAL)) }
  }

  func send(_ text: String) throws { try send(Array(text.utf8)) }

  /// The next octets; empty at the end.
  func receive() throws -> [UInt8] {
    while plain.isEmpty, end == nil {
      var entry = pollfd(fd: input.number, events: CShort(POLLIN), revents: 0)
      guard poll(&entry, 1, CInt(Deadline.seconds * 1000)) == 1 else { throw Failure("the server says nothing") }
      var buffer = [UInt8](repeating: 0, count: 65_536)
      let count = Glibc.read(input.number, &buffer, buffer.count)
      if count <= 0 {
        end = count < 0 ? .reset : isNotified ? .closeNotify : .bare
        break
      }
      let answer = try engine.received(number, Array(buffer[..<count]))
      if !answer.cipher.isEmpty { output.write(answer.cipher) }
      if answer.state == .failed { throw Failure("TLS: \(String(decoding: answer.plain, as: UTF8.self))") }
      plain += answer.plain
      if answer.state == .ended { isNotified = true }
    }
    defer { plain = [] }
    return plain
  }

  func receive(exactly count: Int) throws -> [UInt8] {
    var octets: [UInt8] = []
    while octets.count < count {
      let more = try receive()
      if more.isEmpty { break }
      octets += more
    }
    return octets
  }

  func remainder() throws -> [UInt8] { try receive(exactly: Int.max / 2) }

  /// Says the end, with close_notify or without.
  func endSending(notifying: Bool = true) throws {
    if notifying { output.write(try engine.closeNotify(number).cipher) }
    if shutdown(output.number, CInt(SHUT_WR)) != 0 { output.close() }
  }

  private var number: UInt32 {
    get throws {
      guard let session else { throw Failure("no handshake") }
      return session
    }
  }
}
