// ProxySignalTests: what each signal does to the proxy's own process, as its manual page says.

import Foundation
import Glibc
import XCTest

final class ProxySignalTests: ProxyTestCase {
  func testSignalsThatEndTheProxy() throws {
    for number in [SIGHUP, SIGINT, SIGTERM, SIGALRM, SIGUSR1, SIGUSR2] {
      let connection = try proxied()
      try connection.greet()
      let proxy = try XCTUnwrap(proxies.first)
      XCTAssertEqual(kill(proxy, number), 0)
      XCTAssertEqual(try connection.client.remainder().text, "", "signal \(number)")
      XCTAssertNotNil(connection.process.wait(), "the server program runs on after signal \(number)")
      connection.client.close()
      assertNothingIsLeft()
    }
  }

  func testABrokenPipeDoesNotEndTheProxy() throws {
    let connection = try proxied()
    try connection.greet()
    let proxy = try XCTUnwrap(proxies.first)
    XCTAssertEqual(kill(proxy, SIGPIPE), 0)
    XCTAssertEqual(try connection.client.ask("QUIT"), "221 bye")
    connection.client.close()
    assertNothingIsLeft()
  }
}
