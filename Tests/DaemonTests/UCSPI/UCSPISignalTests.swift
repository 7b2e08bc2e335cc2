// UCSPISignalTests: what each signal does to tlsd-io and to ucspi-tlsd's helper, as their manual pages say.

import Foundation
import Glibc
import XCTest

final class UCSPISignalTests: UCSPITestCase {
  private let ending = [SIGHUP, SIGINT, SIGTERM, SIGALRM, SIGUSR1, SIGUSR2]

  func testSignalsThatEndTLSDIO() throws {
    for number in ending {
      let tunnel = try Tunnel(self)
      try tunnel.peer.handshake()
      try tunnel.peer.send("EHLO c\r\n")
      XCTAssertEqual(try tunnel.reading.read(), Array("EHLO c\r\n".utf8))
      tunnel.forgetInherited()
      XCTAssertEqual(kill(tunnel.process.process, number), 0)
      XCTAssertEqual(tunnel.process.wait(), .killed(number))
      XCTAssertEqual(try tunnel.peer.remainder(), [])
      XCTAssertEqual(tunnel.peer.end, .bare, "a client cannot tell that something is missing")
      XCTAssertEqual(try tunnel.reading.remainder(), [])
    }
  }

  func testABrokenPipeDoesNotEndTLSDIO() throws {
    let tunnel = try Tunnel(self)
    try tunnel.peer.handshake()
    XCTAssertEqual(kill(tunnel.process.process, SIGPIPE), 0)
    try tunnel.peer.send("EHLO c\r\n")
    XCTAssertEqual(try tunnel.reading.read(), Array("EHLO c\r\n".utf8))
    tunnel.forgetInherited()
    tunnel.writing.close()
    try tunnel.peer.endSending()
    XCTAssertEqual(tunnel.process.wait(), .exited(0), tunnel.process.errors)
  }

  /// The server program sees it on the control socket.
  func testSignalsThatEndTheHelper() throws {
    // The helper is nobody's child; adopted, it shows its end.
    adoptOrphans(true)
    defer { adoptOrphans(false) }
    for number in ending {
      let session = try session("cat <&$SSLCTLFD; echo gone >\"$FOLDER/gone\"")
      let helper = try XCTUnwrap(session.helper > 0 ? session.helper : nil)
      XCTAssertEqual(kill(helper, number), 0)
      XCTAssertEqual(exitCode(of: helper), -1)
      XCTAssertEqual(session.process.wait(), .exited(0), "signal \(number): \(session.process.errors)")
      XCTAssertEqual(folder.text("gone"), "gone\n")
      unlink(folder.path + "/gone")
    }
  }
}
