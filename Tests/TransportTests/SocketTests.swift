// Peek, take, receive, send: nothing waits, nothing is over-read, no status flag moves, and faults are answered.

import CKernel
import Glibc
import Transport
import XCTest

final class SocketTests: XCTestCase {
  func testPeekLeavesAndTakeRemovesExactly() throws {
    try withSocketPair { server, client in
      client.put("STARTTLS\r\n\u{16}hello")
      var buffer = [UInt8](repeating: 0, count: 64)
      XCTAssertEqual(buffer.withUnsafeMutableBytes { server.peek(into: $0) }, .moved(16))
      XCTAssertEqual(buffer.withUnsafeMutableBytes { server.peek(into: $0) }, .moved(16))
      try buffer.withUnsafeMutableBytes { try server.take(exactly: 10, into: $0) }
      XCTAssertEqual(String(decoding: buffer.prefix(10), as: UTF8.self), "STARTTLS\r\n")
      XCTAssertEqual(server.get(), "\u{16}hello")
    }
  }

  func testNothingWaits() throws {
    try withSocketPair { server, client in
      var buffer = [UInt8](repeating: 0, count: 8)
      XCTAssertEqual(buffer.withUnsafeMutableBytes { server.peek(into: $0) }, .wouldBlock)
      XCTAssertEqual(buffer.withUnsafeMutableBytes { server.receive(into: $0) }, .wouldBlock)
      let block = [UInt8](repeating: 0, count: 1 << 16)
      var last = IOResult.moved(0)
      for _ in 0..<1000 {
        last = block.withUnsafeBytes { server.send($0) }
        if last == .wouldBlock { break }
      }
      XCTAssertEqual(last, .wouldBlock)
    }
  }

  func testTheEndAndAPeerThatIsGone() throws {
    let pair = try DescriptorPair.sockets()
    pair.split { server, client in
      client.put("bye")
      _ = consume client
      var buffer = [UInt8](repeating: 0, count: 8)
      XCTAssertEqual(buffer.withUnsafeMutableBytes { server.receive(into: $0) }, .moved(3))
      XCTAssertEqual(buffer.withUnsafeMutableBytes { server.peek(into: $0) }, .ended)
      XCTAssertEqual(octets("x").withUnsafeBytes { server.send($0) }, .failed(SystemError("send", EPIPE)))
    }
  }

  func testNoOperationTouchesAStatusFlag() throws {
    for nonBlocking in [false, true] {
      try withSocketPair { server, client in
        // A careless parent: the test is the one who sets the flag.
        if nonBlocking { _ = fcntl(server.number, F_SETFL, try server.statusFlags() | O_NONBLOCK) }
        let flags = try server.statusFlags()
        let number = server.number
        var buffer = [UInt8](repeating: 0, count: 8)
        func check(_ what: String) {
          XCTAssertEqual(fcntl(number, F_GETFL), flags, what)
        }
        _ = buffer.withUnsafeMutableBytes { server.peek(into: $0) }
        check("peek of nothing")
        client.put("abcdef")
        _ = buffer.withUnsafeMutableBytes { server.peek(into: $0) }
        check("peek")
        try buffer.withUnsafeMutableBytes { try server.take(exactly: 2, into: $0) }
        check("take")
        _ = buffer.withUnsafeMutableBytes { server.receive(into: $0) }
        check("receive")
        server.put("abc")
        check("send")
        _ = try server.duplicate()
        check("duplicate")
        var stream = try OctetStream(try server.duplicate())
        _ = buffer.withUnsafeMutableBytes { stream.read(into: $0) }
        check("stream")
        _ = try runProgram(["true"])
        check("child")
        try server.shutdownSending()
        check("shutdown")
      }
    }
  }

  func testHandoffClearsOnlyAFlagThatIsSet() throws {
    try withSocketPair { server, _ in
      var changes = 0
      Kernel.fault = { if $0 == .fcntl { changes += 1 }; return nil }
      defer { Kernel.fault = nil }
      XCTAssertFalse(try server.clearNonBlockingForHandoff())
      XCTAssertEqual(changes, 1, "F_GETFL alone")
      _ = fcntl(server.number, F_SETFL, O_NONBLOCK)
      XCTAssertTrue(try server.isNonBlocking())
      XCTAssertTrue(try server.clearNonBlockingForHandoff())
      XCTAssertFalse(try server.isNonBlocking())
    }
  }

  func testInterruptionsAndShortCountsLoseNothing() throws {
    for position in 1...4 {
      for fault in [Kernel.Fault.error(EINTR), .short(1)] {
        try withSocketPair { server, client in
          try withFault(fault, at: position, of: [.recv, .send]) {
            var queue = ByteQueue(capacity: 32)
            XCTAssertTrue(queue.append("250 HELP\r\n"))
            while !queue.isEmpty { _ = queue.drain { client.send($0) } }
            var buffer = [UInt8](repeating: 0, count: 10)
            try buffer.withUnsafeMutableBytes { try server.take(exactly: 10, into: $0) }
            XCTAssertEqual(buffer, octets("250 HELP\r\n"))
          }
        }
      }
    }
  }

  func testErrorsAreAnswered() throws {
    try withSocketPair { server, client in
      client.put("x")
      var buffer = [UInt8](repeating: 0, count: 4)
      for code in [ECONNRESET, ENOMEM, EPIPE] {
        withFault(.error(code), at: 1, of: [.recv]) {
          XCTAssertEqual(
            buffer.withUnsafeMutableBytes { server.peek(into: $0) }, .failed(SystemError("recv", code)))
        }
      }
      withFault(.error(EAGAIN), at: 1, of: [.recv]) {
        XCTAssertEqual(buffer.withUnsafeMutableBytes { server.peek(into: $0) }, .wouldBlock)
      }
      XCTAssertThrowsError(try buffer.withUnsafeMutableBytes { try server.take(exactly: 2, into: $0) }) {
        XCTAssertEqual($0 as? SystemError, SystemError("recv", EAGAIN), "somebody else reads the socket")
      }
    }
  }
}
