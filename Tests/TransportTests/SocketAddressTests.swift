// Addresses as operators write them and as UCSPI programs read them; listening, accepting, connecting.

import Glibc
import Transport
import XCTest

final class SocketAddressTests: XCTestCase {
  func testParsing() throws {
    for (text, printed, host) in [
      ("127.0.0.1:25", "127.0.0.1:25", "127.0.0.1"),
      ("[::1]:25", "[::1]:25", "::1"),
      ("[2001:DB8:0::1]:587", "[2001:db8::1]:587", "2001:db8::1"),
      ("*:25", "[::]:25", "::"),
      (":0", "[::]:0", "::"),
      ("0.0.0.0:25", "0.0.0.0:25", "0.0.0.0"),
      ("[::ffff:192.0.2.1]:25", "192.0.2.1:25", "192.0.2.1"),
      ("[fe80::1%1]:25", "[fe80::1%1]:25", "fe80::1%1"),
      ("unix:/run/smtp:1", "unix:/run/smtp:1", "/run/smtp:1"),
    ] {
      let address = try SocketAddress(parsing: text)
      XCTAssertEqual(address.description, printed)
      XCTAssertEqual(address.host, host)
    }
    XCTAssertEqual(try SocketAddress(parsing: "*:25").port, 25)
    XCTAssertNil(try SocketAddress(parsing: "unix:/x").port)
  }

  func testWhatIsRefused() {
    for text in [
      "", "25", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:+1", "::1:25", "[]:25",
      "[127.0.0.1]:25", "localhost:25", "256.0.0.1:25", "unix:", "unix:\(String(repeating: "x", count: 108))",
    ] {
      XCTAssertThrowsError(try SocketAddress(parsing: text), text) {
        XCTAssertTrue("\($0)".hasPrefix("'\(text)': "), "\($0)")
      }
    }
  }

  func testLoopback() throws {
    for text in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "unix:/x"] {
      XCTAssertTrue(try SocketAddress(parsing: text).isLoopback, text)
    }
    for text in ["*:1", "0.0.0.0:1", "192.0.2.1:1", "[::2]:1"] {
      XCTAssertFalse(try SocketAddress(parsing: text).isLoopback, text)
    }
  }

  func testNames() throws {
    XCTAssertTrue(try SocketAddress.resolving("localhost:25").contains { $0.isLoopback && $0.port == 25 })
    XCTAssertEqual(try SocketAddress.resolving("127.0.0.1:25"), [.loopback(port: 25)])
  }

  func testDualStackListenerShowsIPv4PeersAsIPv4() throws {
    let listener = try Listener(.any(port: 0))
    let port = try XCTUnwrap(listener.address.port)
    let client = try SocketAddress.loopback(port: port).connect()
    waitFor(listener.descriptor.number, POLLIN)
    guard case .connection(let connection) = listener.accept() else { return XCTFail("no connection") }
    XCTAssertEqual(connection.peer.host, "127.0.0.1")
    XCTAssertEqual(connection.peer.port, try client.localAddress()?.port)
    XCTAssertEqual(try connection.descriptor.localAddress()?.host, "127.0.0.1")
    waitFor(client.number, POLLOUT)
    XCTAssertNil(try client.connectionError())
    XCTAssertEqual(try client.peerAddress()?.description, "127.0.0.1:\(port)")
  }

  func testAnAcceptedSocketIsBlockingAndUndelayed() throws {
    let listener = try Listener(.loopback(port: 0))
    guard case .wouldBlock = listener.accept() else { return XCTFail("a connection out of nothing") }
    let client = try listener.address.connect()
    waitFor(listener.descriptor.number, POLLIN)
    guard case .connection(let connection) = listener.accept() else { return XCTFail("no connection") }
    XCTAssertFalse(try connection.descriptor.isNonBlocking())
    var value: CInt = 0
    var size = socklen_t(4)
    getsockopt(connection.descriptor.number, CInt(IPPROTO_TCP), TCP_NODELAY, &value, &size)
    XCTAssertNotEqual(value, 0)
    _ = consume client
  }

  func testAcceptErrorsByClass() throws {
    let listener = try Listener(.loopback(port: 0))
    withFault(.error(ECONNABORTED), at: 1, of: [.accept4]) {
      guard case .vanished = listener.accept() else { return XCTFail("vanished") }
    }
    withFault(.error(EMFILE), at: 1, of: [.accept4]) {
      guard case .failed(let error) = listener.accept() else { return XCTFail("failed") }
      XCTAssertEqual(error, SystemError("accept4", EMFILE))
    }
  }

  func testNobodyListens() throws {
    let address = try Listener(.loopback(port: 0)).address
    do {
      let client = try address.connect()
      waitFor(client.number, POLLOUT)
      XCTAssertEqual(try client.connectionError(), SystemError("connect", ECONNREFUSED))
    } catch {
      XCTAssertEqual(error, SystemError("connect", ECONNREFUSED))
    }
  }

  func testUnixSocket() throws {
    try withFolder { folder in
      let address = try SocketAddress(parsing: "unix:\(folder)/socket")
      let listener = try Listener(address)
      XCTAssertEqual(listener.address, address)
      let client = try address.connect()
      guard case .connection(let connection) = listener.accept() else { return XCTFail("no connection") }
      XCTAssertEqual(connection.peer, .unix(""))
      client.put("hello")
      XCTAssertEqual(connection.descriptor.get(), "hello")
    }
  }
}
