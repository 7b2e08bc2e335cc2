// TLS support: a real client (openssl s_client, unless another is given) against a stream, over loopback.

import Glibc
import Transport
import TransportTLS
import XCTest

/// A TLS server's session and the client process that talks to it.
struct TLSMeeting: ~Copyable {
  let stream: GnuTLSStream
  /// The client's standard input and output.
  let client: Descriptor
  var process: ChildProcess
  /// What the handshake came to.
  let outcome: TLSHandshake
  /// The status flags of the socket before it was attached.
  let flags: CInt

  /// Starts `openssl s_client` with these arguments and goes through the handshake.
  init(_ credentials: TLSCredentials, _ arguments: [String], priorities: TLSPriorities? = nil) throws {
    try self.init(credentials, priorities: priorities) { ["openssl", "s_client", "-connect", $0.description] + arguments }
  }

  /// The same with another client.
  ///
  /// - Parameters:
  ///   - priorities: what the server accepts; nil for its default.
  ///   - command: the client's words, from the address that it is to connect to.
  ///   - prepare: what is done to the stream before it gets the socket.
  init(
    _ credentials: TLSCredentials, priorities: TLSPriorities? = nil, prepare: (GnuTLSStream) -> Void = { _ in }, command: (SocketAddress) -> [String]
  ) throws {
    let listener = try Listener(.loopback(port: 0))
    let pair = try DescriptorPair.sockets()
    // 2>&1: the client's errors are read by the tests.
    let process = try ChildProcess(
      ["sh", "-c", "exec \"$@\" 2>&1", "sh"] + command(listener.address), environment: ["PATH=/usr/bin:/bin"],
      standardStreams: pair.second)
    let client = try pair.first.duplicate()
    let stream = try GnuTLSStream(credentials, priorities)
    prepare(stream)
    XCTAssertTrue(waitFor(listener.descriptor.number, POLLIN))
    guard case .connection(let connection) = listener.accept() else { throw SystemError("accept4", EAGAIN) }
    flags = try connection.descriptor.statusFlags()
    stream.attach(connection.takeDescriptor())
    outcome = shakeHands(stream)
    self.stream = stream
    self.client = client
    self.process = process
  }

  /// Waits for a decrypted read.
  func read(_ limit: Int = 4096) -> (IOResult, String) {
    var buffer = [UInt8](repeating: 0, count: limit)
    while true {
      let answer = buffer.withUnsafeMutableBytes { stream.read(into: $0) }
      switch answer {
      case .wouldBlock:
        guard wait(for: stream) else { return (answer, "") }
      case .moved(let moved):
        return (answer, String(decoding: buffer.prefix(moved), as: UTF8.self))
      case .ended, .failed:
        return (answer, "")
      }
    }
  }

  /// Writes a text whole.
  func write(_ text: String) {
    var rest = octets(text)[...]
    while !rest.isEmpty {
      switch rest.withUnsafeBytes({ stream.write($0) }) {
      case .moved(let moved): rest = rest.dropFirst(moved)
      case .wouldBlock: guard wait(for: stream) else { return XCTFail("timeout") }
      case let answer: return XCTFail("\(answer)")
      }
    }
  }

  /// What the client has printed when `text` is among it, or when it ended or ten seconds have passed.
  func printed(until text: String) -> String {
    var all = ""
    while !all.contains(text), waitFor(client.number, POLLIN) {
      let more = client.get()
      if more.isEmpty { break }
      all += more
    }
    return all
  }
}

/// Waits for the direction that a stream waits for.
func wait(for stream: GnuTLSStream) -> Bool {
  waitFor(stream.descriptor, stream.direction == .read ? POLLIN : POLLOUT)
}

/// Goes through a handshake to its end.
func shakeHands(_ stream: GnuTLSStream) -> TLSHandshake {
  while true {
    let outcome = stream.handshake()
    guard outcome == .wouldBlock else { return outcome }
    guard wait(for: stream) else { return .failed("timeout") }
  }
}

/// Self-signed credentials in a folder.
func selfSigned(_ folder: String, names: [String] = ["localhost"], tickets: Bool = false) throws -> TLSCredentials {
  try TLSCredentials([try SelfSigned.pair(in: folder, names: names)], tickets: tickets ? .on : .off)
}
