// The end of a connection inside TLS: the driver tries to send the close_notify again while the kernel does not accept
// it, and shuts its half down only after that, or at its deadline.

@testable import TransportKit
import Glibc
import SMTPState
@testable import Transport
import TransportTLS
import XCTest

final class EndOfTLSTests: XCTestCase {
  func testTheCloseNotifyIsTriedAgainUntilTheKernelAcceptsIt() throws {
    try withFolder { folder in
      let credentials = try selfSigned(folder)
      for refusals in [0, 1, 7] {
        let session = try EndingSession(credentials, refusals: refusals)
        try session.quit()
        for refused in 0..<refusals {
          XCTAssertEqual(session.stream?.tries, refused + 1)
          XCTAssertFalse(session.end.hasEnded, "the half was shut down before the close_notify")
          XCTAssertEqual(session.driver.watches.client?.events, CShort(POLLOUT))
          session.turn()
        }
        XCTAssertEqual(session.stream?.tries, refusals + 1)
        session.readAll()
        XCTAssertTrue(session.tunnel.hasEnded, session.tunnel.failure ?? "no close_notify")
        XCTAssertTrue(session.end.hasEnded, "the half was not shut down after the close_notify")
        session.end.endSending()
        session.readAll()
        session.turn()
        XCTAssertTrue(session.driver.isFinished)
        XCTAssertEqual(session.driver.record.end, .closed(.quit))
      }
    }
  }

  /// The deadline is not extended by the attempts.
  func testTheCloseNotifyIsGivenUpAtTheDeadline() throws {
    try withFolder { folder in
      let session = try EndingSession(try selfSigned(folder), refusals: Int.max)
      try session.quit()
      let deadline = session.now + SessionDriver.Timeouts().outputStalledMilliseconds
      for tries in 1...5 {
        XCTAssertEqual(session.stream?.tries, tries)
        XCTAssertEqual(session.driver.deadline, deadline)
        session.now += 1_000
        session.turn()
      }
      XCTAssertFalse(session.end.hasEnded)
      session.now = deadline
      session.turn()
      XCTAssertTrue(session.driver.isFinished)
      session.readAll()
      XCTAssertTrue(session.end.hasEnded)
      XCTAssertFalse(session.tunnel.hasEnded, "it was given up")
    }
  }
}

/// A session whose client uses TLS and sends QUIT, up to the end of the connection.
private final class EndingSession: SessionHost {
  let end: FarEnd
  /// The TLS layer before the handoff.
  private var prepared: RefusedEnd?
  /// The TLS layer, which the driver owns; nil if the driver has closed it.
  private(set) weak var stream: RefusedEnd?
  private(set) var tunnel: TLSTunnel!
  private(set) var driver: SessionDriver!
  var now = 0
  private var server: FarSocket

  init(_ credentials: TLSCredentials, refusals: Int) throws {
    let clientEnds = try Kernel.socketPair()
    let serverEnds = try Kernel.socketPair()
    end = FarEnd(socket: clientEnds.1)
    server = FarSocket(serverEnds.1)
    prepared = RefusedEnd(try GnuTLSStream(credentials), refusals: refusals)
    driver = SessionDriver(
      policy: Policy(), timeouts: SessionDriver.Timeouts(),
      client: try PlaintextClient(socket: Descriptor(adopting: clientEnds.0)),
      server: .started(Descriptor(adopting: serverEnds.0)), host: self, now: now)
  }

  /// Goes through STARTTLS and QUIT up to the first attempt to send the close_notify.
  func quit() throws {
    server.put("220 mx\r\n")
    turn()
    end.say(Array("EHLO c\r\n".utf8))
    readAll()
    turn()
    server.put("250 mx\r\n")
    turn()
    end.say(Array("STARTTLS\r\n".utf8))
    readAll()
    turn()
    readAll()
    XCTAssertTrue(end.take().elementsEqual(Array("220 mx\r\n250-mx\r\n250 STARTTLS\r\n".utf8) + ownText(.readyForTLS).utf8))
    tunnel = TLSTunnel(end)
    for _ in 0..<20 where driver.record.tls == nil || !tunnel.isEstablished {
      readAll()
      turn()
    }
    XCTAssertNotNil(driver.record.tls)
    server.put("220 mx\r\n")
    turn()
    tunnel.say(Array("QUIT\r\n".utf8))
    readAll()
    turn()
    server.put("221 bye\r\n")
    turn()
    XCTAssertTrue(driver.isClosing)
  }

  func turn() {
    driver.turn(now: now)
  }

  /// The client reads and writes as long as something moves.
  func readAll() {
    while end.step() || tunnel?.step() == true {}
  }

  // MARK: SessionHost

  func isTLSAvailable() -> Bool { true }
  func abort(_ proof: Reason) {}
  func endServer() {}

  func handoff(_ proof: Handoff, _ client: consuming PlaintextClient) -> any TLSStream {
    guard let taken = prepared.take(), let socket = client.takeSocket() else { return FailingTLSStream() }
    taken.engine.attach(socket)
    stream = taken
    return taken
  }

  func restart(_ facts: TLSFacts) -> ServerStart {
    guard let ends = try? Kernel.socketPair() else { return .failed("no socket") }
    server = FarSocket(ends.1)
    return .started(Descriptor(adopting: ends.0))
  }
}

/// The engine, with a kernel that answers EAGAIN to the first close_notify calls.
private final class RefusedEnd: TLSStream {
  let engine: GnuTLSStream
  private var refusals: Int
  /// How often the driver has tried to end its half.
  private(set) var tries = 0

  init(_ engine: GnuTLSStream, refusals: Int) {
    self.engine = engine
    self.refusals = refusals
  }

  func endSending() -> Bool {
    tries += 1
    guard refusals > 0 else { return engine.endSending() }
    refusals -= 1
    Kernel.fault = { $0 == .send || $0 == .sendmsg ? .error(EAGAIN) : nil }
    defer { Kernel.fault = nil }
    return engine.endSending()
  }

  var descriptor: CInt { engine.descriptor }
  var outputDescriptor: CInt { engine.outputDescriptor }
  var direction: TLSDirection { engine.direction }
  var hasPending: Bool { engine.hasPending }
  var facts: TLSFacts { engine.facts }
  func handshake() -> TLSHandshake { engine.handshake() }
  func read(into buffer: UnsafeMutableRawBufferPointer) -> IOResult { engine.read(into: buffer) }
  func write(_ octets: UnsafeRawBufferPointer) -> IOResult { engine.write(octets) }
  func discardInput(into buffer: UnsafeMutableRawBufferPointer) -> IOResult { engine.discardInput(into: buffer) }
}
