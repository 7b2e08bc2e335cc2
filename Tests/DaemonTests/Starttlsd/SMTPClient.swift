// SMTPClient: a client that can do everything right, and everything wrong at any moment.
//
// It owns its socket; TLS is computed by a TLSEngine, so that the test sees, cuts and orders the octets of a handshake.
// Every wait has a limit.

import CKernel
import Foundation
import Glibc

final class SMTPClient {
  /// How the server's octets ended.
  enum End: Hashable {
    /// The end of the connection; inside TLS without close_notify.
    case end
    /// close_notify and then the end of the connection.
    case closeNotify
    case reset
    /// The TLS layer failed.
    case failed
  }

  private(set) var socket: CInt
  /// The client's own port, and the daemon's.
  let ownPort: UInt16
  let peerPort: UInt16
  private let engine: () throws -> TLSEngine
  private var tls: UInt32?
  private var received: [UInt8] = []
  private var end: End?

  /// Connects to a numeric address.
  ///
  /// - Parameter source: the IPv4 address to come from; nil for what the kernel chooses.
  init(
    host: String = "127.0.0.1", port: UInt16, from source: String? = nil, receiveBuffer: CInt? = nil,
    engine: @escaping () throws -> TLSEngine
  ) throws {
    self.engine = engine
    var hints = addrinfo()
    hints.ai_flags = AI_NUMERICHOST
    hints.ai_socktype = CInt(SOCK_STREAM.rawValue)
    var found: UnsafeMutablePointer<addrinfo>?
    guard getaddrinfo(host, "\(port)", &hints, &found) == 0, let address = found?.pointee else { throw Failure("\(host)?") }
    defer { freeaddrinfo(found) }
    let socket = Glibc.socket(address.ai_family, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
    if var size = receiveBuffer {
      setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<CInt>.size))
    }
    var on: CInt = 1
    setsockopt(socket, CInt(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<CInt>.size))
    if let source {
      var chosen = sockaddr_in()
      chosen.sin_family = sa_family_t(AF_INET)
      inet_pton(AF_INET, source, &chosen.sin_addr)
      _ = withUnsafePointer(to: &chosen) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
      }
    }
    guard connect(socket, address.ai_addr, address.ai_addrlen) == 0 else {
      let why = String(cString: strerror(errno))
      Glibc.close(socket)
      throw Failure("connect: \(why)")
    }
    var own = sockaddr_in6()
    var length = socklen_t(MemoryLayout<sockaddr_in6>.size)
    withUnsafeMutablePointer(to: &own) {
      _ = $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(socket, $0, &length) }
    }
    self.socket = socket
    peerPort = port
    // The port has the same place in sockaddr_in.
    ownPort = UInt16(bigEndian: own.sin6_port)
  }

  deinit { close() }

  // MARK: Sending

  func send(_ text: String) throws { try send(Array(text.utf8)) }

  /// Sends octets, inside TLS in as few records as possible.
  func send(_ octets: [UInt8]) throws {
    guard let tls else { return try sendRaw(octets) }
    try sendRaw(try engine().encipher(tls, octets).cipher)
  }

  /// A text as one record, which is not sent.
  func enciphered(_ text: String) throws -> [UInt8] {
    guard let tls else { throw Failure("no handshake has begun") }
    return try engine().encipher(tls, Array(text.utf8)).cipher
  }

  /// The close_notify, which is not sent.
  func closeNotify() throws -> [UInt8] {
    guard let tls else { throw Failure("no handshake has begun") }
    return try engine().closeNotify(tls).cipher
  }

  /// Sends octets as they are.
  func sendRaw(_ octets: [UInt8]) throws {
    var rest = octets[...]
    while !rest.isEmpty {
      var entry = pollfd(fd: socket, events: CShort(POLLOUT), revents: 0)
      guard poll(&entry, 1, CInt(Deadline.seconds * 1000)) == 1 else { throw Failure("the daemon takes nothing") }
      let count = rest.withUnsafeBytes { Glibc.send(socket, $0.baseAddress, $0.count, CInt(MSG_DONTWAIT | MSG_NOSIGNAL)) }
      guard count > 0 else { throw Failure("send: \(String(cString: strerror(errno)))") }
      rest = rest.dropFirst(count)
    }
  }

  /// Sends until nothing more is taken for a while.
  func fill(with text: String = "x") throws {
    let octets = Array(String(repeating: text, count: 16_000 / text.utf8.count).utf8)
    while isWritable(within: 100) {
      let cipher = try tls.map { try engine().encipher($0, octets).cipher } ?? octets
      // What the kernel does not take of the last record is lost: nothing may be sent after it.
      _ = cipher.withUnsafeBytes { Glibc.send(socket, $0.baseAddress, $0.count, CInt(MSG_DONTWAIT | MSG_NOSIGNAL)) }
    }
  }

  private func isWritable(within milliseconds: CInt) -> Bool {
    var entry = pollfd(fd: socket, events: CShort(POLLOUT), revents: 0)
    return poll(&entry, 1, milliseconds) == 1 && entry.revents == CShort(POLLOUT)
  }

  /// Sends octets, ends the client's half, and returns all that comes; reads while it sends, so that nobody waits for
  /// the other.
  func exchange(_ octets: [UInt8]) throws -> [UInt8] {
    var rest = octets[...]
    while !rest.isEmpty {
      try send(Array(rest.prefix(16_000)))
      rest = rest.dropFirst(16_000)
      while hasUnread, try receive() {}
    }
    try endSending()
    while try receive() {}
    defer { received = [] }
    return received
  }

  /// Ends the client's half: inside TLS with a close_notify.
  func endSending() throws {
    if let tls { try sendRaw(try engine().closeNotify(tls).cipher) }
    shutdown(socket, CInt(SHUT_WR))
  }

  // MARK: Receiving

  /// The next whole reply, its lines joined by `|`, without the last CRLF.
  func reply() throws -> String {
    while true {
      let lines = received.split(separator: 10, omittingEmptySubsequences: false).dropLast()
      if let last = lines.first(where: { $0.count < 4 || $0[$0.startIndex + 3] != UInt8(ascii: "-") }) {
        let text = String(decoding: received[..<last.endIndex], as: UTF8.self)
        received.removeSubrange(...last.endIndex)
        return text.replacingOccurrences(of: "\r\n", with: "|").trimmingCharacters(in: ["\r"])
      }
      guard try receive() else {
        let what = end.map { "\($0)" } ?? ""
        throw Failure("the connection has ended (\(what)) after '\(String(decoding: received, as: UTF8.self))'")
      }
    }
  }

  /// Sends a command and returns the reply to it.
  @discardableResult
  func ask(_ command: String) throws -> String {
    try send(command + "\r\n")
    return try reply()
  }

  /// The next reply, which must begin so.
  @discardableResult
  func expect(_ beginning: String) throws -> String {
    let reply = try reply()
    guard reply.hasPrefix(beginning) else { throw Failure("'\(reply)' instead of '\(beginning)'") }
    return reply
  }

  /// Everything up to the end of the server's octets, and how they ended.
  func remainder() throws -> (text: String, end: End) {
    while try receive() {}
    defer { received = [] }
    return (String(decoding: received, as: UTF8.self), end ?? .end)
  }

  /// The same as it comes over the wire, not deciphered.
  func rawRemainder() throws -> [UInt8] {
    var octets = received
    received = []
    while end == nil { octets += try receiveRaw() }
    return octets
  }

  /// Receives something; false at the end.
  private func receive() throws -> Bool {
    while end == nil {
      let octets = try receiveRaw()
      guard let tls else {
        received += octets
        return end == nil
      }
      guard end == nil else {
        if isNotified && end == .end { end = .closeNotify }
        return false
      }
      let answer = try engine().received(tls, octets)
      try? sendRaw(answer.cipher)
      received += answer.plain
      switch answer.state {
      case .failed: end = .failed
      case .ended: isNotified = true
      case .open, .handshaking: break
      }
      if !answer.plain.isEmpty { return true }
    }
    return false
  }

  private var isNotified = false

  /// Octets as they come; none at the end.
  func receiveRaw() throws -> [UInt8] {
    var entry = pollfd(fd: socket, events: CShort(POLLIN), revents: 0)
    guard poll(&entry, 1, CInt(Deadline.seconds * 1000)) == 1 else {
      throw Failure("no octet comes after '\(String(decoding: received, as: UTF8.self))'")
    }
    var buffer = [UInt8](repeating: 0, count: 65_536)
    let count = recv(socket, &buffer, buffer.count, 0)
    if count < 0 { end = .reset }
    if count == 0 { end = .end }
    return Array(buffer[..<max(0, count)])
  }

  /// Whether octets or an end have come that were not received.
  var hasUnread: Bool {
    var entry = pollfd(fd: socket, events: CShort(POLLIN), revents: 0)
    return poll(&entry, 1, 0) == 1
  }

  // MARK: TLS

  /// STARTTLS and the whole handshake.
  func startTLS(serverName: String = "mx.example", version: String = "3") throws {
    try send("STARTTLS\r\n")
    try expect("220 2.0.0 ")
    try sendRaw(try beginTLS(serverName: serverName, version: version))
    try finishHandshake()
  }

  /// TLS from the start, up to the greeting inside it.
  func startImplicitTLS() throws {
    try sendRaw(try beginTLS())
    try finishHandshake()
    try expect("220 ")
  }

  /// TLS in one of the two ways, from the connection to what the server sends first inside it.
  func enterTLS(isImplicit: Bool) throws {
    guard !isImplicit else { return try startImplicitTLS() }
    try expect("220 ")
    try ask("EHLO client.example")
    try startTLS()
  }

  /// Makes the TLS client; the octets are its ClientHello.
  func beginTLS(serverName: String = "mx.example", version: String = "3") throws -> [UInt8] {
    let begun = try engine().begin(serverName: serverName, version: version)
    tls = begun.number
    return begun.answer.cipher
  }

  /// Goes on with the handshake to its end, first with octets that have come already.
  func finishHandshake(_ first: [UInt8] = []) throws {
    guard let tls else { throw Failure("no handshake has begun") }
    var octets = received + first
    received = []
    while true {
      let answer = try engine().received(tls, octets)
      try sendRaw(answer.cipher)
      received += answer.plain
      switch answer.state {
      case .open: return
      case .handshaking:
        octets = try receiveRaw()
        if end != nil { throw Failure("the connection has ended in the handshake: \(end.map { "\($0)" } ?? "")") }
      case .failed, .ended:
        throw Failure("the handshake has failed: \(String(decoding: answer.plain, as: UTF8.self))")
      }
    }
  }

  /// Protocol version and cipher suite, with a blank between.
  func facts() throws -> String {
    guard let tls else { return "" }
    return try engine().facts(tls)
  }

  /// The server's certificate, in DER.
  func certificate() throws -> [UInt8] {
    guard let tls else { throw Failure("no handshake has begun") }
    return try engine().certificate(tls)
  }

  // MARK: Ends

  func close() {
    guard socket >= 0 else { return }
    Glibc.close(socket)
    socket = -1
    if let tls { try? engine().forget(tls) }
    tls = nil
  }

  /// Ends the connection with a reset.
  func reset() {
    guard socket >= 0 else { return }
    var now = linger(l_onoff: 1, l_linger: 0)
    setsockopt(socket, SOL_SOCKET, SO_LINGER, &now, socklen_t(MemoryLayout<linger>.size))
    close()
  }
}
