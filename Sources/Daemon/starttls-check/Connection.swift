// Connection: one connection to the server, in clear, and inside TLS once a handshake has begun.
//
// Contract: no call waits longer than its deadline, a point in time of `Clock`. What arrives is limited to 4 MiB per connection.
// A failure to send has no effect: the server's end is reported by the next read.

import CKernel
import Glibc
import SMTPProbe
import Transport

final class Connection {
  enum Event {
    case octets([UInt8])
    case ended
    case expired
    case established
    /// The server ended the handshake.
    case refused(String)
    /// The handshake failed on this side.
    case failed(String)
    /// The handshake failed because these octets are not TLS.
    case clear([UInt8])
  }

  private static let limit = 4 << 20

  private var socket: Descriptor?
  private let number: CInt
  private var isClosed = false
  /// The server's address.
  let address: SocketAddress
  /// The address that the server sees, as an argument of EHLO.
  let addressLiteral: String?
  private var tls: ClientTLS?
  private var request = TLSRequest()
  private var isHandshaking = false
  private var isEstablished = false
  private var hasEnded = false
  private var received = 0
  /// The first octets of the server's side of TLS, to recognise what is not TLS.
  private var firstOctets: [UInt8] = []

  /// Tries the addresses in turn, until the end.
  init(_ addresses: [SocketAddress], timeoutMilliseconds: Int, _ end: Int) throws(CheckFailure) {
    var last = "no address"
    for address in addresses where Clock.now() < end {
      do throws(SystemError) {
        let descriptor = try address.connect()
        guard Connection.wait(descriptor.number, CInt(POLLOUT), min(Clock.now() + timeoutMilliseconds, end)) else {
          last = "\(address): no connection in time"
          continue
        }
        if let error = try descriptor.connectionError() {
          last = "\(address): \(error)"
          continue
        }
        number = descriptor.number
        self.address = address
        addressLiteral = Connection.literal((try? descriptor.localAddress()) ?? nil)
        socket = consume descriptor
        return
      } catch {
        last = "\(address): \(error)"
      }
    }
    throw CheckFailure(last, ExitCode.incomplete)
  }

  /// Closes the connection. Nothing can be sent or received any more.
  func close() {
    (hasEnded, isClosed) = (true, true)
    socket = nil
  }

  private static func literal(_ address: SocketAddress?) -> String? {
    switch address?.unmapped {
    case .ipv4?: address.map { "[\($0.host)]" }
    case .ipv6?: address.map { "[IPv6:\($0.host.prefix { $0 != "%" })]" }
    case .unix?, nil: nil
    }
  }

  private static func wait(_ number: CInt, _ events: CInt, _ deadline: Int) -> Bool {
    while true {
      var entry = pollfd(fd: number, events: CShort(events), revents: 0)
      let rest = deadline - Clock.now()
      let ready = poll(&entry, 1, CInt(clamping: max(0, rest)))
      if ready > 0 { return true }
      if ready == 0 || errno != EINTR || rest <= 0 { return false }
    }
  }

  // MARK: Sending

  /// Sends octets, enciphered once TLS is established.
  func send(_ octets: [UInt8], _ deadline: Int) {
    guard let tls, isEstablished else { return sendRaw(octets, deadline) }
    tls.write(octets)
    sendRaw(tls.takeOutgoing(), deadline)
  }

  private func write(_ octets: UnsafeRawBufferPointer) -> IOResult {
    guard !isClosed else { return .ended }
    return IOResult(writing: octets.count) { () throws(SystemError) in
      try Kernel.send(number, octets, CInt(MSG_DONTWAIT | MSG_NOSIGNAL))
    }
  }

  private func read(into buffer: UnsafeMutableRawBufferPointer) -> IOResult {
    guard !isClosed else { return .ended }
    return IOResult(reading: buffer.count) { () throws(SystemError) in try Kernel.recv(number, buffer, CInt(MSG_DONTWAIT)) }
  }

  private func sendRaw(_ octets: [UInt8], _ deadline: Int) {
    var rest = octets[...]
    while !rest.isEmpty {
      switch rest.withUnsafeBytes({ write($0) }) {
      case .moved(let count): rest = rest.dropFirst(count)
      case .wouldBlock: guard Connection.wait(number, CInt(POLLOUT), deadline) else { return }
      case .ended, .failed: return
      }
    }
  }

  /// Sends handshake octets, in segments of the requested size. All of them: the deadline is for a server that does not read, not for
  /// a client that is slow.
  private func sendHandshake(_ octets: [UInt8], _ deadline: Int) {
    guard request.cut > 0 else { return sendRaw(octets, deadline) }
    var rest = octets[...]
    while !rest.isEmpty {
      sendRaw(Array(rest.prefix(request.cut)), deadline)
      rest = rest.dropFirst(request.cut)
      // The kernel would join segments that follow at once.
      usleep(200)
    }
  }

  /// Ends the sending half of the socket; TLS is not informed.
  func endSending() {
    if !isClosed { try? Kernel.shutdown(number, CInt(SHUT_WR)) }
  }

  // MARK: TLS

  /// Makes a ClientHello, which the caller sends.
  func prepareHello(_ request: TLSRequest, name: String?, resuming earlier: [UInt8]?) throws(CheckFailure) -> [UInt8] {
    let tls = try ClientTLS(request, name: name, resuming: earlier)
    self.tls = tls
    self.request = request
    _ = tls.handshake()
    return tls.takeOutgoing()
  }

  /// Begins the handshake, or continues a prepared one.
  func startTLS(
    _ request: TLSRequest, name: String?, resuming earlier: [UInt8]?, received: [UInt8], _ deadline: Int
  ) throws(CheckFailure) {
    if tls == nil { tls = try ClientTLS(request, name: name, resuming: earlier) }
    self.request = request
    isHandshaking = true
    take(received)
    guard let tls else { return }
    if firstOctets.isEmpty {
      _ = tls.handshake()
      sendHandshake(tls.takeOutgoing(), deadline)
    }
  }

  /// The session, once TLS is established.
  var established: ClientTLS? { isEstablished ? tls : nil }

  private func take(_ octets: [UInt8]) {
    if firstOctets.count < 80 { firstOctets += octets.prefix(80) }
    tls?.feed(octets)
  }

  // MARK: Receiving

  /// Waits for the next event.
  func next(_ deadline: Int) -> Event {
    repeat {
      if let event = withoutWaiting(deadline) { return event }
      if hasEnded || received > Connection.limit { return .ended }
      guard Connection.wait(number, CInt(POLLIN), deadline) else { return .expired }
      if let octets = receiveRaw() { return .octets(octets) }
      // There may always be something to read.
    } while Clock.now() < deadline
    return withoutWaiting(deadline) ?? .expired
  }

  /// Receives once. Returns octets in clear; those of TLS are given to it.
  @discardableResult
  private func receiveRaw() -> [UInt8]? {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    switch buffer.withUnsafeMutableBytes({ read(into: $0) }) {
    case .moved(let count):
      received += count
      let octets = Array(buffer.prefix(count))
      guard isHandshaking || isEstablished else { return octets }
      take(octets)
    case .wouldBlock: break
    case .ended, .failed:
      hasEnded = true
      tls?.hasEnded = true
    }
    return nil
  }

  /// What the TLS layer has.
  private func withoutWaiting(_ deadline: Int) -> Event? {
    guard let tls else { return nil }
    if isHandshaking {
      if let first = firstOctets.first, !(0x14...0x17).contains(first) {
        isHandshaking = false
        return .clear(firstOctets)
      }
      let answer = tls.handshake()
      sendHandshake(tls.takeOutgoing(), deadline)
      switch answer {
      case .established:
        (isHandshaking, isEstablished) = (false, true)
        return .established
      case .refused(let why):
        isHandshaking = false
        return hasEnded && firstOctets.isEmpty ? .ended : .refused(why)
      case .failed(let why):
        isHandshaking = false
        return .failed(why)
      case .wouldBlock: return nil
      }
    }
    guard isEstablished else { return nil }
    defer { sendRaw(tls.takeOutgoing(), deadline) }
    switch tls.read() {
    case .octets(let octets): return .octets(octets)
    case .ended: return .ended
    case .wouldBlock: return nil
    }
  }
}

// MARK: - Renegotiation

extension Connection {
  /// Asks for a renegotiation: `accepted`, `insecure` (accepted without RFC 5746) or `refused`.
  func renegotiate(_ deadline: Int) -> String {
    guard let tls = established else { return "refused" }
    while true {
      let answer = tls.renegotiate()
      sendRaw(tls.takeOutgoing(), deadline)
      if let answer { return answer ? tls.isRenegotiationSafe ? "accepted" : "insecure" : "refused" }
      // A server may send without end, and never answer.
      guard received <= Connection.limit, Clock.now() < deadline, Connection.wait(number, CInt(POLLIN), deadline) else {
        return "refused"
      }
      receiveRaw()
    }
  }
}
