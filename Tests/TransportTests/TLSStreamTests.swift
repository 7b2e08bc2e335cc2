// Handshakes, data and endings against a real client, and against octets that are no client's.

import Glibc
import Transport
import TransportTLS
import XCTest

@testable import TransportKit

final class TLSStreamTests: XCTestCase {
  private func meeting(_ arguments: [String], _ body: (inout TLSMeeting) throws -> Void) throws {
    try withFolder { folder in
      var meeting = try TLSMeeting(try selfSigned(folder), arguments)
      try body(&meeting)
      XCTAssertEqual(fcntl(meeting.stream.descriptor, F_GETFL), meeting.flags, "status flags")
    }
  }

  func testTLS13() throws {
    try meeting(["-tls1_3", "-quiet", "-servername", "Mail.Example", "-alpn", "smtp"]) { meeting in
      XCTAssertEqual(meeting.outcome, .established)
      var facts = TLSFacts(
        version: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384", group: "x25519", serverName: "mail.example",
        applicationProtocol: "smtp")
      facts.cipherBits = 256
      XCTAssertEqual(meeting.stream.facts, facts)
      meeting.client.put("EHLO a\n")
      XCTAssertEqual(meeting.read().1, "EHLO a\n")
      meeting.write("250 ok\r\n")
      XCTAssertTrue(meeting.printed(until: "250 ok").contains("250 ok\r\n"))
    }
  }

  func testTLS12() throws {
    try meeting(["-tls1_2", "-quiet", "-noservername"]) { meeting in
      XCTAssertEqual(meeting.outcome, .established)
      var facts = TLSFacts(version: "TLSv1.2", cipher: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", group: "x25519")
      facts.cipherBits = 256
      XCTAssertEqual(meeting.stream.facts, facts)
      meeting.client.put("NOOP\n")
      XCTAssertEqual(meeting.read().1, "NOOP\n")
    }
  }

  /// Certificate and key may each be PEM or DER, the key in its own form or in PKCS #8.
  func testDERAndPEMServeAlike() throws {
    try withFolder { folder in
      let pair = try SelfSigned.pair(in: "\(folder)/tls", names: ["localhost"])
      func converted(_ name: String, _ arguments: [String]) throws -> String {
        XCTAssertEqual(try runProgram(["openssl"] + arguments + ["-out", "\(folder)/\(name)"]), .exited(0), name)
        return "\(folder)/\(name)"
      }
      let certificate = try converted("certificate.der", ["x509", "-in", pair.certificate, "-outform", "DER"])
      let keys = try [
        pair.key, converted("own.der", ["ec", "-in", pair.key, "-outform", "DER"]),
        converted("pkcs8.der", ["pkcs8", "-topk8", "-nocrypt", "-in", pair.key, "-outform", "DER"]),
      ]
      for (certificate, key) in [(pair.certificate, keys[1])] + keys.map({ (certificate, $0) }) {
        let meeting = try TLSMeeting(
          try TLSCredentials([.init(certificate: certificate, key: key)]),
          ["-quiet", "-verify_return_error", "-CAfile", pair.certificate])
        XCTAssertEqual(meeting.outcome, .established, "\(certificate), \(key)")
      }
    }
  }

  func testTLS11IsRefusedWithAnAlert() throws {
    try meeting(["-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"]) { meeting in
      guard case .failed(let text) = meeting.outcome else { return XCTFail("\(meeting.outcome)") }
      XCTAssertTrue(text.hasPrefix("TLS handshake: "), text)
      let printed = meeting.printed(until: "alert protocol version")
      XCTAssertTrue(printed.contains("alert protocol version"), printed)
    }
  }

  func testOtherProtocolsAreRefusedWithAnAlert() throws {
    try meeting(["-alpn", "h2"]) { meeting in
      guard case .failed = meeting.outcome else { return XCTFail("\(meeting.outcome)") }
      let printed = meeting.printed(until: "no application protocol")
      XCTAssertTrue(printed.contains("no application protocol"), printed)
    }
  }

  func testAClientsFirstKeyIsUsed() throws {
    // No second round trip: the group is the one that the client has already sent a key for.
    try meeting(["-groups", "X25519:P-256"]) { meeting in
      XCTAssertTrue(meeting.printed(until: "Server Temp Key: X25519").contains("Server Temp Key: X25519"))
    }
    try meeting(["-groups", "P-256:X25519"]) { meeting in
      XCTAssertTrue(meeting.printed(until: "Server Temp Key: ECDH").contains("Server Temp Key: ECDH, prime256v1"))
    }
  }

  func testTheServerNameChoosesTheCertificate() throws {
    try withFolder { folder in
      let pairs = [
        try SelfSigned.pair(in: "\(folder)/a", names: ["a.example"]),
        try SelfSigned.pair(in: "\(folder)/b", names: ["b.example"]),
      ]
      let credentials = try TLSCredentials(pairs)
      for (name, certificate) in [("a.example", "a"), ("b.example", "b"), ("c.example", "a")] {
        let meeting = try TLSMeeting(credentials, ["-servername", name])
        XCTAssertEqual(meeting.outcome, .established)
        let expected = "subject=CN = \(certificate).example"
        XCTAssertTrue(meeting.printed(until: "subject=").contains(expected), name)
      }
    }
  }

  func testNoTicketsUnlessAskedFor() throws {
    try withFolder { folder in
      for tickets in [false, true] {
        let meeting = try TLSMeeting(try selfSigned(folder, tickets: tickets), ["-tls1_3", "-msg"])
        XCTAssertEqual(meeting.outcome, .established)
        meeting.write("220 hello\r\n")
        var printed = meeting.printed(until: "220 hello")
        // The client prints through a buffer of its own, to be seen whole once it has ended.
        meeting.client.put("Q\n")
        printed += meeting.printed(until: "DONE\n")
        XCTAssertEqual(printed.contains("NewSessionTicket"), tickets, printed)
      }
    }
  }

  func testARenegotiationEndsTheSession() throws {
    try meeting(["-tls1_2"]) { meeting in
      XCTAssertEqual(meeting.outcome, .established)
      _ = meeting.printed(until: "Verify return code")
      meeting.client.put("R\n")
      XCTAssertEqual(meeting.read().0, .failed(SystemError("gnutls_record_recv", EPROTO)))
      XCTAssertEqual(meeting.stream.failure, "TLS reading: the client asked for a renegotiation")
      XCTAssertEqual(octets("x").withUnsafeBytes { meeting.stream.write($0) },
        .failed(SystemError("gnutls_record_send", EPROTO)))
    }
  }

  func testCloseNotifyFromTheClient() throws {
    try meeting(["-tls1_3"]) { meeting in
      XCTAssertEqual(meeting.outcome, .established)
      _ = meeting.printed(until: "Verify return code")
      meeting.client.put("Q\n")
      XCTAssertEqual(meeting.read().0, .ended)
      XCTAssertFalse(meeting.stream.facts.truncated)
    }
  }

  func testCloseNotifyToTheClient() throws {
    try meeting(["-quiet"]) { meeting in
      XCTAssertEqual(meeting.outcome, .established)
      meeting.write("221 bye\r\n")
      XCTAssertTrue(meeting.stream.endSending())
      XCTAssertTrue(meeting.printed(until: "221 bye").contains("221 bye"))
      XCTAssertTrue(waitFor(meeting.process.descriptor.number, POLLIN), "the client ends")
    }
  }

  func testATruncatedEndIsReported() throws {
    try meeting(["-quiet", "-tls1_3"]) { meeting in
      XCTAssertEqual(meeting.outcome, .established)
      try meeting.process.signal(SIGKILL)
      XCTAssertEqual(meeting.read().0, .ended)
      XCTAssertTrue(meeting.stream.facts.truncated)
    }
  }

  func testMoreThanTheSocketTakes() throws {
    try meeting(["-quiet"]) { meeting in
      XCTAssertEqual(meeting.outcome, .established)
      let block = (0..<(8 << 20)).map { UInt8(97 + $0 % 23) } + octets("END")
      var sent = 0
      var received: [UInt8] = []
      var blocked = 0
      var buffer = [UInt8](repeating: 0, count: 1 << 16)
      while !received.suffix(3).elementsEqual(block.suffix(3)) {
        if sent < block.count {
          switch block[sent...].withUnsafeBytes({ meeting.stream.write($0) }) {
          case .moved(let moved):
            sent += moved
            continue
          case .wouldBlock: blocked += 1
          case let answer: return XCTFail("\(answer)")
          }
        }
        guard waitFor(meeting.client.number, POLLIN) else { return XCTFail("timeout") }
        if case .moved(let moved) = buffer.withUnsafeMutableBytes({ meeting.client.receive(into: $0) }) {
          received += buffer.prefix(moved)
        }
      }
      XCTAssertGreaterThan(blocked, 0)
      // The client has printed what it thinks of the certificate first.
      XCTAssertTrue(received.suffix(block.count).elementsEqual(block))
    }
  }

  func testPendingOctetsAreReported() throws {
    try meeting(["-quiet"]) { meeting in
      meeting.client.put("EHLO a\n")
      XCTAssertEqual(meeting.read(3).1, "EHL")
      XCTAssertTrue(meeting.stream.hasPending)
      XCTAssertEqual(meeting.read().1, "O a\n")
      XCTAssertFalse(meeting.stream.hasPending)
    }
  }

  func testGarbageGetsAnAlertAndAnEnd() throws {
    try withFolder { folder in
      let credentials = try selfSigned(folder)
      for garbage in ["EHLO mail.example\r\n", "\0\0\0\0\0\0\0\0", "\u{16}\u{3}\u{1}\u{0}\u{4}\u{7f}\0\0\0"] {
        try withSocketPair { server, client in
          let stream = try GnuTLSStream(credentials)
          client.put(garbage)
          try client.shutdownSending()
          stream.attach(try server.duplicate())
          guard case .failed(let text) = shakeHands(stream) else { return XCTFail("no failure") }
          XCTAssertEqual(stream.failure, text)
          var buffer = [UInt8](repeating: 0, count: 64)
          XCTAssertEqual(buffer.withUnsafeMutableBytes { client.receive(into: $0) }, .moved(7), text)
          XCTAssertEqual(Array(buffer[0..<1] + buffer[3..<6]), [21, 0, 2, 2], "a fatal alert")
          XCTAssertEqual(buffer.withUnsafeMutableBytes { client.receive(into: $0) }, .ended)
          XCTAssertEqual(buffer.withUnsafeMutableBytes { stream.read(into: $0) },
            .failed(SystemError("gnutls_record_recv", EPROTO)))
        }
      }
    }
  }

  func testAClientThatLeaves() throws {
    try withFolder { folder in
      let credentials = try selfSigned(folder)
      let pair = try DescriptorPair.sockets()
      pair.split { server, client in
        _ = consume client
        do {
          let stream = try GnuTLSStream(credentials)
          stream.attach(server)
          XCTAssertEqual(shakeHands(stream), .failed("TLS handshake: the client closed the connection"))
        } catch { XCTFail("\(error)") }
      }
    }
  }

  func testNoDescriptorIsLeft() throws {
    let before = openDescriptors()
    try meeting(["-quiet"]) { XCTAssertEqual($0.outcome, .established) }
    XCTAssertEqual(openDescriptors(), before)
    try withFolder { folder in
      let stream = try GnuTLSStream(try selfSigned(folder))
      XCTAssertEqual(stream.descriptor, -1)
      XCTAssertEqual(stream.handshake(), .failed("no socket is attached"))
    }
  }

  func testEveryCallOfAHandshakeMayFail() throws {
    try withFolder { folder in
      let credentials = try selfSigned(folder)
      for fault in [Kernel.Fault.error(EINTR), .error(EAGAIN), .short(1), .error(ECONNRESET), .error(EPIPE)] {
        for position in 1...12 {
          var outcome = TLSHandshake.wouldBlock
          let made = try withFault(fault, at: position, of: [.recv, .sendmsg]) {
            outcome = try TLSMeeting(credentials, ["-quiet"]).outcome
          }
          if made < position { break }
          switch fault {
          case .error(let code) where code == ECONNRESET || code == EPIPE:
            guard case .failed(let text) = outcome else { return XCTFail("\(fault) at \(position)") }
            XCTAssertTrue(text.contains(String(cString: strerror(code))), text)
          case .error, .short:
            XCTAssertEqual(outcome, .established, "\(fault) at \(position)")
          }
        }
      }
    }
  }
}
