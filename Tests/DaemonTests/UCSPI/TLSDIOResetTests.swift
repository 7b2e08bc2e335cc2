// A client that resets while the program does not read, or writes and blocks: tlsd-io ends, and so can the program. A program that
// ends while its client reads nothing: tlsd-io ends too.

import CKernel
import Glibc
import XCTest

final class TLSDIOResetTests: UCSPITestCase {
  /// What is full when the client resets.
  private enum Blockage: CaseIterable {
    case nothing, toProgram, toClient, both
  }

  /// All at once, since a program that does not read is waited for 10 s.
  func testAResetEndsItWhateverIsFull() throws {
    let octets = noise(4096, seed: 11)
    var tunnels: [(what: String, tunnel: Tunnel)] = []
    for isOneChannel in [false, true] {
      for blockage in Blockage.allCases {
        let tunnel = try Tunnel(self, network: .narrow, isOneChannel: isOneChannel)
        try tunnel.peer.handshake()
        _ = try tunnel.control?.remainder()
        tunnel.forgetInherited()
        if blockage == .toClient || blockage == .both { tunnel.writing.fill(with: octets) }
        if blockage == .toProgram || blockage == .both { try fill(tunnel.peer, with: octets) }
        tunnels.append(("\(blockage), one channel: \(isOneChannel)", tunnel))
      }
    }
    for (_, tunnel) in tunnels { tunnel.peer.output.reset() }
    for (what, tunnel) in tunnels {
      // A program that writes is not kept: nobody reads any more.
      XCTAssertTrue(eventually { !tunnel.writing.fill(with: octets) }, "\(what): the program's writes still block")
    }
    for (what, tunnel) in tunnels {
      XCTAssertNotNil(tunnel.process.wait(), "\(what): tlsd-io does not end")
    }
  }

  /// What it reads in time is not lost, see TLSDIORelayTests.
  func testAClientHasALimitedTimeAfterTheEndOfTheProgram() throws {
    let octets = noise(4096, seed: 13)
    for isOneChannel in [false, true] {
      let tunnel = try Tunnel(self, ["--end-timeout", "1000"], network: .narrow, isOneChannel: isOneChannel)
      try tunnel.peer.handshake()
      tunnel.forgetInherited()
      // Everything is full: the end of the program's octets cannot be read.
      tunnel.writing.fill(with: octets)
      tunnel.writing.close()
      tunnel.reading.close()
      XCTAssertEqual(tunnel.process.wait(), .exited(98), tunnel.process.errors)
      XCTAssertTrue(tunnel.process.errors.contains("(--end-timeout)"), tunnel.process.errors)
    }
  }

  /// What was read before is delivered to a program that reads within the time.
  func testWhatWasReadBeforeAResetIsDelivered() throws {
    let tunnel = try Tunnel(self, network: .tcp)
    try tunnel.peer.handshake()
    tunnel.forgetInherited()
    let up = noise(100_000, seed: 12)
    try tunnel.peer.send(up)
    // 64 KiB are in the pipe, the rest is in its buffer.
    XCTAssertTrue(eventually { unread(tunnel.peer.output) == 0 })
    tunnel.peer.output.reset()
    XCTAssertTrue(try tunnel.reading.remainder() == up)
    XCTAssertNotNil(tunnel.process.wait())
  }

  func testASessionEndsAfterItsTime() throws {
    let tunnel = try Tunnel(self, ["-T", "300"])
    try tunnel.peer.handshake()
    tunnel.forgetInherited()
    XCTAssertEqual(tunnel.process.wait(), .exited(98))
    XCTAssertTrue(tunnel.process.errors.contains("the session lasted too long"), tunnel.process.errors)
  }

  /// Octets that this end has sent and the other one has not read.
  private func unread(_ descriptor: TestDescriptor) -> CInt {
    var count: CInt = 0
    // SIOCOUTQ
    _ = ioctl(descriptor.number, 0x5411, &count)
    return count
  }

  /// Sends until nothing more is taken for a while. What the kernel does not take of the last record is lost.
  private func fill(_ peer: TLSPeer, with octets: [UInt8]) throws {
    while true {
      var entry = pollfd(fd: peer.output.number, events: CShort(POLLOUT), revents: 0)
      guard poll(&entry, 1, 100) == 1 else { return }
      try peer.offer(octets)
    }
  }
}
