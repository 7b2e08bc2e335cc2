// BareSession: a driver over two socket pairs whose far ends a test holds, and a clock that the test moves.

import Glibc
import SMTPState
@testable import Transport
import XCTest

@testable import TransportKit

/// One session without TLS, or with a TLS layer that never gets anywhere.
final class BareSession: SessionHost {
  let client: FarSocket
  let server: FarSocket
  private(set) var driver: SessionDriver!
  private(set) var now = 0
  private let tls: WaitingStream?

  init(
    policy: Policy = Policy(), timeouts: SessionDriver.Timeouts = SessionDriver.Timeouts(), bufferOctets: CInt? = nil, tls: WaitingStream? = nil
  ) throws {
    self.tls = tls
    let clientEnds = try Kernel.socketPair()
    let serverEnds = try Kernel.socketPair()
    if let bufferOctets {
      Connections.limitBuffers(of: [clientEnds.0, clientEnds.1, serverEnds.0, serverEnds.1], to: bufferOctets)
    }
    client = FarSocket(clientEnds.1)
    server = FarSocket(serverEnds.1)
    driver = SessionDriver(
      policy: policy, timeouts: timeouts, client: try PlaintextClient(socket: Descriptor(adopting: clientEnds.0)),
      server: .started(Descriptor(adopting: serverEnds.0)), host: self, now: now)
  }

  /// Makes turns as long as something is ready.
  func turn() {
    for _ in 0..<10_000 where !driver.isFinished {
      driver.turn(now: now)
      guard isReady else { return }
    }
  }

  private var isReady: Bool {
    let watches = driver.watches
    var entries = [watches.client, watches.server].compactMap { watch in
      watch.map { pollfd(fd: $0.descriptor, events: $0.events, revents: 0) }
    }
    return driver.deadline.map { $0 <= now } == true || poll(&entries, nfds_t(entries.count), 0) > 0
  }

  /// Brings the session into a relay without TLS.
  func relay() throws {
    server.put("220 ready\r\n")
    turn()
    client.put("EHLO c\r\n")
    turn()
    server.put("250 mx\r\n")
    turn()
    client.put("MAIL FROM:<a@b>\r\n")
    turn()
    _ = client.get()
    _ = server.get()
    XCTAssertEqual(driver.state, .relaying)
  }

  /// Lets time pass and does something now and then; the end that the session came to, nil if it came to none.
  func play(every interval: Int, until end: Int, _ act: (FarSocket, FarSocket) -> Void) -> SessionRecord.End? {
    while now < end && !driver.isFinished {
      act(client, server)
      turn()
      let next = now + interval
      while let deadline = driver.deadline, deadline <= next, !driver.isFinished {
        now = max(now, deadline)
        turn()
      }
      now = next
    }
    return driver.record.end
  }

  // MARK: SessionHost

  func isTLSAvailable() -> Bool { tls != nil }
  func handoff(_ proof: Handoff, _ client: consuming PlaintextClient) -> any TLSStream {
    guard let tls, let socket = client.takeSocket() else { return FailingTLSStream() }
    tls.attach(socket)
    return tls
  }
  func abort(_ proof: Reason) {}
  func endServer() {}
  func restart(_ facts: TLSFacts) -> ServerStart { .failed("there is none") }
}

/// A TLS layer that reads nothing, and whose handshake always waits for more.
final class WaitingStream: TLSStream {
  private var socket: Descriptor?
  private(set) var descriptor: CInt = -1
  /// How often the handshake was continued.
  private(set) var continuations = 0

  func attach(_ socket: consuming Descriptor) {
    descriptor = socket.number
    self.socket = consume socket
  }

  var direction: TLSDirection { .read }
  var hasPending: Bool { false }
  var facts: TLSFacts { TLSFacts(version: "", cipher: "") }
  func handshake() -> TLSHandshake {
    continuations += 1
    return .wouldBlock
  }
  func read(into buffer: UnsafeMutableRawBufferPointer) -> IOResult { .wouldBlock }
  func write(_ octets: UnsafeRawBufferPointer) -> IOResult { .wouldBlock }
  func endSending() -> Bool { true }
  func discardInput(into buffer: UnsafeMutableRawBufferPointer) -> IOResult { .wouldBlock }
}

/// The far end of a socket pair: never waits.
final class FarSocket {
  let number: CInt

  init(_ number: CInt) { self.number = number }

  deinit { close(number) }

  /// Sends as much of a text as the kernel takes.
  @discardableResult
  func put(_ text: String) -> Int {
    put(Array(text.utf8)[...])
  }

  /// Sends as many octets as the kernel takes; how many.
  func put(_ octets: ArraySlice<UInt8>) -> Int {
    octets.withUnsafeBytes { max(0, send(number, $0.baseAddress, $0.count, CInt(MSG_DONTWAIT | MSG_NOSIGNAL))) }
  }

  /// Sends an urgent octet. Skips the test if the kernel has none on Unix sockets.
  func putUrgent() throws {
    var octet = UInt8(ascii: "!")
    let sent = send(number, &octet, 1, CInt(MSG_OOB))
    try XCTSkipIf(sent < 0 && errno == EOPNOTSUPP, "this kernel has none")
    XCTAssertEqual(sent, 1)
  }

  func endSending() { _ = shutdown(number, CInt(SHUT_WR)) }

  /// Sends lines of a greeting that does not end, as many as the kernel takes.
  func fill() {
    while put("220-" + String(repeating: "x", count: 94) + "\r\n") == 100 {}
  }

  /// What waits, at most `limit` octets.
  func get(_ limit: Int = 65_536) -> String {
    var buffer = [UInt8](repeating: 0, count: limit)
    let count = recv(number, &buffer, limit, CInt(MSG_DONTWAIT))
    return String(decoding: buffer.prefix(max(0, count)), as: UTF8.self)
  }
}
