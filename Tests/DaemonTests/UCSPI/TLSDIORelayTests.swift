// TLSDIORelayTests: tlsd-io moves everything, in both directions, and ends each of them where it ended.

import CKernel
import Glibc
import XCTest

final class TLSDIORelayTests: UCSPITestCase {
  func testASessionOnEveryKindOfDescriptor() throws {
    for network in Network.allCases {
      for version in ["2", "3"] {
        let tunnel = try Tunnel(self, network: network)
        try tunnel.peer.handshake(version)
        let cipher = try tunnel.peer.facts
        XCTAssertEqual(cipher.prefix(8), "TLSv1.\(version) ")
        let report = String(decoding: try XCTUnwrap(tunnel.control).remainder(), as: UTF8.self)
        let strings = report.split(separator: "\0", omittingEmptySubsequences: false)
        XCTAssertEqual(strings.count, 7, "two NULs at the end")
        XCTAssertEqual(strings[0], "SSL_PROTOCOL=TLSv1.\(version)")
        XCTAssertTrue(strings[1].hasPrefix("SSL_CIPHER=TLS_"), report)
        XCTAssertEqual(
          strings[2...], ["SSL_TLS_SNI_SERVERNAME=mx.example", "SSL_PEER_CERT_HASH", "SSL_PEER_CERT_SUBJECT", "", ""])
        try tunnel.peer.send("EHLO c\r\n")
        XCTAssertEqual(try tunnel.reading.read(), Array("EHLO c\r\n".utf8))
        tunnel.writing.write(Array("250 x\r\n".utf8))
        XCTAssertEqual(try tunnel.peer.receive(), Array("250 x\r\n".utf8))
        tunnel.forgetInherited()
        tunnel.writing.close()
        XCTAssertEqual(try tunnel.peer.remainder(), [])
        XCTAssertEqual(tunnel.peer.end, .bare, "no close_notify without -S")
        try tunnel.peer.endSending()
        XCTAssertEqual(try tunnel.reading.remainder(), [])
        XCTAssertEqual(tunnel.process.wait(), .exited(0), tunnel.process.errors)
        XCTAssertEqual(tunnel.process.errors, "")
      }
    }
  }

  func testAMebibyteInBothDirectionsAtOnce() throws {
    for network in Network.allCases {
      let tunnel = try Tunnel(self, network: network)
      try tunnel.peer.handshake()
      let up = noise(1 << 20, seed: 1)
      let down = noise(1 << 20, seed: 2)
      let writing = tunnel.writing
      let reading = tunnel.reading
      // The server program writes and reads at the same time as the client.
      let writer = Running { writing.write(down) }
      let reader = Running { try? reading.read(exactly: up.count) }
      let peer = tunnel.peer
      let sender = Running {
        for start in stride(from: 0, to: up.count, by: 12_345) {
          _ = try? peer.send(Array(up[start..<min(start + 12_345, up.count)]))
        }
      }
      sender.wait()
      XCTAssertTrue(try peer.receive(exactly: down.count) == down, "\(network): server to client")
      writer.wait()
      reader.wait()
      XCTAssertTrue(reader.result == up, "\(network): client to server")
    }
  }

  /// The client sends its end and is still answered.
  func testTheClientsHalfClose() throws {
    for network in Network.allCases {
      for isNotifying in [true, false] {
        let tunnel = try Tunnel(self, network: network)
        try tunnel.peer.handshake()
        tunnel.forgetInherited()
        try tunnel.peer.send("QUIT\r\n")
        try tunnel.peer.endSending(notifying: isNotifying)
        XCTAssertEqual(try tunnel.reading.remainder(), Array("QUIT\r\n".utf8))
        tunnel.writing.write(Array("221 bye\r\n".utf8))
        tunnel.writing.close()
        XCTAssertEqual(try tunnel.peer.remainder(), Array("221 bye\r\n".utf8), "\(network)")
        XCTAssertEqual(tunnel.process.wait(), .exited(0), tunnel.process.errors)
      }
    }
  }

  /// The program sends its end and still gets what the client sends.
  func testTheProgramsHalfClose() throws {
    for options in [[], ["-S"]] {
      let tunnel = try Tunnel(self, options)
      try tunnel.peer.handshake()
      tunnel.forgetInherited()
      tunnel.writing.write(Array("last".utf8))
      tunnel.writing.close()
      XCTAssertEqual(try tunnel.peer.remainder(), Array("last".utf8))
      XCTAssertEqual(tunnel.peer.end, options.isEmpty ? .bare : .closeNotify)
      try tunnel.peer.send("afterwards")
      try tunnel.peer.endSending(notifying: false)
      XCTAssertEqual(try tunnel.reading.remainder(), Array("afterwards".utf8))
      XCTAssertEqual(tunnel.process.wait(), .exited(0), tunnel.process.errors)
    }
  }

  /// Blocking or not: all works, and no flag of any description is set, not even when the program is killed.
  func testFlagsOfEveryDescriptionStayAsTheyWere() throws {
    for network in Network.allCases {
      for isNonBlocking in [false, true] {
        let tunnel = try Tunnel(self, network: network, nonBlocking: isNonBlocking)
        let before = tunnel.inherited.map(\.flags)
        XCTAssertEqual(before.map { $0 & O_NONBLOCK != 0 }, [isNonBlocking, isNonBlocking])
        try tunnel.peer.handshake()
        let up = noise(100_000, seed: 8)
        let peer = tunnel.peer
        let sender = Running { try? peer.send(up) }
        XCTAssertTrue(try tunnel.reading.read(exactly: up.count) == up)
        sender.wait()
        XCTAssertEqual(tunnel.inherited.map(\.flags), before)
        for channel in [5, 6] {
          XCTAssertEqual((ProcessTable.statusFlags(of: channel, in: tunnel.process.process) ?? O_NONBLOCK) & O_NONBLOCK, 0)
        }
        tunnel.process.kill()
        XCTAssertEqual(tunnel.inherited.map(\.flags), before, "\(network), non-blocking: \(isNonBlocking)")
      }
    }
  }

  /// Reads by many small and few large records, and by a program that takes its time: the order stays.
  func testASlowProgramLosesNothing() throws {
    let tunnel = try Tunnel(self)
    try tunnel.peer.handshake()
    tunnel.forgetInherited()
    let up = noise(400_000, seed: 3)
    let peer = tunnel.peer
    let sender = Running {
      var start = 0
      var round = 0
      while start < up.count {
        round += 1
        let end = min(up.count, start + (round % 7 == 0 ? 30_000 : round % 5 + 1) * (round % 3 + 1))
        _ = try? peer.send(Array(up[start..<end]))
        start = end
      }
      try? peer.endSending()
    }
    var got: [UInt8] = []
    while true {
      let more = try tunnel.reading.read(7001)
      if more.isEmpty { break }
      got += more
      if got.count % 5 == 0 { usleep(500) }
    }
    sender.wait()
    XCTAssertTrue(got == up, "\(got.count) of \(up.count)")
  }

  /// A client that goes away with everything sent: it is all delivered.
  func testWhatAClientSentBeforeItWentIsDelivered() throws {
    let tunnel = try Tunnel(self, network: .tcp)
    try tunnel.peer.handshake()
    tunnel.forgetInherited()
    let up = noise(50_000, seed: 4)
    try tunnel.peer.send(up)
    try tunnel.peer.endSending()
    tunnel.peer.input.close()
    XCTAssertTrue(try tunnel.reading.remainder() == up)
  }

  /// A socket that is closed with octets unread is reset, and what the client has not taken yet is lost.
  func testOctetsAfterTheEndDoNotTakeBackTheLastReply() throws {
    let tunnel = try Tunnel(self, network: .narrow)
    try tunnel.peer.handshake()
    tunnel.forgetInherited()
    let down = noise(40_000, seed: 9)
    tunnel.writing.write(down)
    tunnel.writing.close()
    tunnel.reading.close()
    let ports = tunnel.peer.input.ports
    XCTAssertTrue(eventually { ProcessTable.hasEndedSending(on: ports.peer, from: ports.own) })
    try tunnel.peer.send("more")
    // Read and thrown away; or answered by a reset, and then the socket is gone.
    XCTAssertTrue(eventually { ProcessTable.queues(on: ports.peer, from: ports.own)?.receiving == 0 })
    XCTAssertTrue(try tunnel.peer.remainder() == down)
    tunnel.peer.input.close()
    XCTAssertEqual(tunnel.process.wait(), .exited(0), tunnel.process.errors)
  }

  func testAnEndWithoutCloseNotifyIsAnErrorOnlyWhenAskedFor() throws {
    for (options, code) in [([], 0), (["-J"], 98), (["-J", "-j"], 0)] as [([String], CInt)] {
      let tunnel = try Tunnel(self, options)
      try tunnel.peer.handshake()
      tunnel.forgetInherited()
      try tunnel.peer.send("all of it")
      try tunnel.peer.endSending(notifying: false)
      XCTAssertEqual(try tunnel.reading.remainder(), Array("all of it".utf8))
      tunnel.writing.close()
      XCTAssertEqual(tunnel.process.wait(), .exited(code), tunnel.process.errors)
    }
  }

  func testABrokenRecordEndsTheSessionAndDeliversWhatCameBefore() throws {
    let tunnel = try Tunnel(self, network: .tcp)
    try tunnel.peer.handshake()
    tunnel.forgetInherited()
    try tunnel.peer.send("before")
    tunnel.peer.output.write([0x17, 3, 3, 0, 32] + noise(32, seed: 5))
    XCTAssertEqual(try tunnel.reading.remainder(), Array("before".utf8))
    XCTAssertEqual(tunnel.process.wait(), .exited(98))
    XCTAssertTrue(tunnel.process.errors.hasPrefix("tlsd-io: TLS reading: "), tunnel.process.errors)
  }

  /// A side that sends nothing, or reads nothing, uses no processor time.
  func testAnIdleOrStalledSessionDoesNotSpin() throws {
    let tunnel = try Tunnel(self)
    try tunnel.peer.handshake()
    _ = try tunnel.control?.remainder()
    let peer = tunnel.peer
    // Both directions full: the program reads nothing and neither does the client.
    let sender = Running { _ = try? peer.send(self.noise(2_000_000, seed: 6)) }
    _ = fcntl(tunnel.writing.number, F_SETFL, tunnel.writing.flags | O_NONBLOCK)
    let piece = noise(4096, seed: 7)
    for _ in 0..<300 where piece.withUnsafeBytes({ write(tunnel.writing.number, $0.baseAddress, $0.count) }) < 0 { usleep(1000) }
    XCTAssertTrue(ProcessTable.becomesIdle(tunnel.process.process))
    tunnel.process.kill()
    tunnel.forgetInherited()
    sender.wait()
  }
}
