// TLSDIOProgramTests: `tcpserver ... tlsd-io program`, for clients that begin with TLS.

import CKernel
import Foundation
import Glibc
import XCTest

final class TLSDIOProgramTests: ServiceManagerTestCase {
  private var keys: [String: String] = [:]

  override func setUpWithError() throws {
    let made = try certificate()
    keys = ["CERTFILE": made.certificate, "KEYFILE": made.key]
  }

  /// tcpserver on a free port.
  private func serve(_ options: [String], _ program: [String]) throws -> (server: SpawnedProgram, port: UInt16) {
    let port = try freePort()
    let words =
      ["/usr/bin/tcpserver", "-vRHl0", "127.0.0.1", "\(port)", try Programs.path("tlsd-io"), "-v", "2"] + options + program
    let server = try SpawnedProgram(words, environment: environment.merging(keys) { $1 }, errors: .file(folder.path + "/log"))
    return (server, port)
  }

  private var maildir: [String] {
    get throws { [try Programs.path("maildir-smtpd"), "--hostname", "mx.example", folder.path + "/Maildir"] }
  }

  private func secured(_ port: UInt16, _ server: SpawnedProgram, version: String = "3") throws -> SMTPClient {
    let client = try connected(port, server)
    try client.sendRaw(try client.beginTLS(version: version))
    try client.finishHandshake()
    try client.expect("220 ")
    return client
  }

  func testCurlDelivers() throws {
    let (server, port) = try serve(["-S"], maildir)
    defer { server.kill() }
    let message = try folder.write(Array("Subject: a test\r\n\r\nText\r\n".utf8), to: "message")
    XCTAssertTrue(eventually { folder.text("log").contains("status: 0/") }, log)
    try run([
      "curl", "-sS", "--max-time", "10", "--insecure", "smtps://127.0.0.1:\(port)/client.example", "--mail-from", "a@client.example",
      "--mail-rcpt", "b@mx.example", "-T", message,
    ])
    let name = try XCTUnwrap(folder.names(in: "Maildir/new").first)
    let text = folder.text("Maildir/new/" + name)
    XCTAssertTrue(text.contains(" by mx.example with ESMTPS (TLSv1.3 "), text)
    XCTAssertTrue(text.hasSuffix("Subject: a test\n\nText\n"), text)
    XCTAssertTrue(eventually { log.contains("status: 0/") && log.contains("end ") }, log)
  }

  /// The program has the number that tcpserver knows, the variables of TLS, and no path of a key.
  func testWhatTheProgramGets() throws {
    let path = try backend()
    for (options, hasKeys) in [([], false), (["-Z"], true)] {
      let (server, port) = try serve(["-S"] + options, [path])
      defer { server.kill() }
      for version in ["3", "2"] {
        let client = try secured(port, server, version: version)
        let reply = try client.ask("NOOP")
        for text in ["SSL_PROTOCOL=TLSv1.\(version)", "SSL_CIPHER=TLS_", "SSL_TLS_SNI_SERVERNAME=mx.example", "PROTO=TCP", "TCPREMOTEIP=127.0.0.1"] {
          XCTAssertTrue(reply.contains(text), reply)
        }
        XCTAssertEqual(reply.contains("KEYFILE="), hasKeys, reply)
        // That of the client before may take a moment to end.
        let programs = { ProcessTable.children(of: server.process).map(ProcessTable.commandLine) }
        XCTAssertTrue(eventually { programs().count == 1 && programs()[0].hasSuffix("/backend") }, "\(programs())")
        XCTAssertEqual(try client.ask("QUIT"), "221 bye")
        XCTAssertEqual(try client.remainder().end, .closeNotify)
        client.close()
      }
    }
  }

  /// What says who the client is comes from this session, never from the environment of the server.
  func testVariablesOfAnotherSessionAreRemoved() throws {
    keys.merge(["SSL_CLIENT_S_DN": "CN=relay", "SSL_CLIENT_VERIFY": "SUCCESS", "SSL_PEER_CERT_HASH": "x", "TLS_CIPHER": "x", "SSL_CERT_DIR": "/nowhere"]) { $1 }
    for options in [[], ["-Z"]] {
      let (server, port) = try serve(["-S"] + options, [try backend()])
      defer { server.kill() }
      let client = try secured(port, server)
      let reply = try client.ask("NOOP")
      XCTAssertTrue(reply.contains("SSL_PROTOCOL=TLSv1.3"), reply)
      XCTAssertTrue(reply.contains("SSL_CERT_DIR=/nowhere"), reply)
      for name in ["SSL_CLIENT_S_DN", "SSL_CLIENT_VERIFY", "SSL_PEER_CERT_HASH", "TLS_CIPHER"] { XCTAssertFalse(reply.contains(name), reply) }
      XCTAssertEqual(try client.ask("QUIT"), "221 bye")
      client.close()
    }
  }

  /// GnuTLS would write the secrets of the sessions there.
  func testSSLKEYLOGFILEHasNoEffect() throws {
    keys["SSLKEYLOGFILE"] = folder.path + "/secrets"
    let (server, port) = try serve([], [try backend()])
    defer { server.kill() }
    for version in ["2", "3"] {
      let client = try secured(port, server, version: version)
      XCTAssertEqual(try client.ask("QUIT"), "221 bye")
      client.close()
    }
    XCTAssertFalse(folder.names(in: "").contains("secrets"))
  }

  /// Without a handshake there is no program, and no octet in clear.
  func testAFailedHandshake() throws {
    let (server, port) = try serve([], ["/usr/bin/touch", folder.path + "/started"])
    defer { server.kill() }
    for octets in [Array("EHLO client.example\r\n".utf8), []] {
      let client = try connected(port, server)
      try client.sendRaw(octets)
      shutdown(client.socket, CInt(SHUT_WR))
      let answer = try client.rawRemainder()
      XCTAssertTrue(answer.isEmpty || answer[0] == 0x15 && answer.count == 7, "\(answer)")
      client.close()
    }
    // 98 in the upper octet of the status.
    XCTAssertTrue(eventually { log.components(separatedBy: "status \(98 << 8)").count == 3 }, log)
    XCTAssertTrue(log.contains("tlsd-io: TLS handshake: "), log)
    XCTAssertFalse(folder.names(in: "").contains("started"))
  }

  func testAProgramThatDoesNotExist() throws {
    let (server, port) = try serve([], [folder.path + "/nowhere"])
    defer { server.kill() }
    let client = try connected(port, server)
    try client.sendRaw(try client.beginTLS())
    try client.finishHandshake()
    XCTAssertEqual(try client.remainder().text, "")
    client.close()
    XCTAssertTrue(eventually { log.contains("status \(127 << 8)") }, log)
    XCTAssertTrue(log.contains("tlsd-io: \(folder.path)/nowhere: "), log)
  }

  /// A message that is cut off, with or without close_notify, is not delivered; -J reports it.
  func testAMessageThatIsCutOffIsNotDelivered() throws {
    for isNotifying in [true, false] {
      let (server, port) = try serve(["-S", "-J"], maildir)
      defer { server.kill() }
      let client = try secured(port, server)
      for command in ["EHLO client.example", "MAIL FROM:<a@client.example>", "RCPT TO:<b@mx.example>", "DATA"] { try client.ask(command) }
      try client.send("Subject: half\r\n\r\nHalf a li")
      if isNotifying {
        try client.endSending()
      } else {
        try client.sendRaw(Array(try client.enciphered("ne.\r\n.\r\n").dropLast()))
        shutdown(client.socket, CInt(SHUT_WR))
      }
      _ = try client.remainder()
      client.close()
      XCTAssertTrue(eventually { log.contains("end ") }, log)
      XCTAssertEqual(folder.names(in: "Maildir/new"), [])
      if !isNotifying { XCTAssertTrue(eventually { log.contains("tlsd-io: ") && log.contains("close_notify") }, log) }
    }
  }

  /// Octets after a close_notify, in clear or in a record, do not reach the program, and every octet to the client is in a
  /// record.
  func testOctetsAfterTheEndReachNobody() throws {
    let backend = try script("printf '220 backend\\r\\n'; cat >\(folder.path)/input; printf 'after the end\\r\\n'", "reader")
    for isInClear in [true, false] {
      let (server, port) = try serve(["-S"], [backend])
      defer { server.kill() }
      let client = try secured(port, server)
      try client.send("before\r\n")
      // The engine enciphers nothing after its end: a record that cannot be deciphered stands for one.
      let late = isInClear ? Array("in clear\r\n".utf8) : [0x17, 3, 3, 0, 32] + [UInt8](repeating: 7, count: 32)
      try client.sendRaw(try client.closeNotify())
      try client.sendRaw(late)
      let raw = try client.rawRemainder()
      assertOnlyRecords(raw)
      XCTAssertEqual(folder.text("input"), "before\r\n")
      client.close()
    }
  }

  func testCommandLines() throws {
    for (words, text) in [
      (["5"], "two descriptors are needed"), (["5", "cat"], "must be the number of a descriptor"),
      (["-d", "5", "cat"], "-d cannot be used with a program"), ([], "two descriptors are needed"),
    ] {
      let result = try run([try Programs.path("tlsd-io")] + words, expecting: .exited(100))
      XCTAssertTrue(result.errors.contains(text), "\(words): \(result.errors)")
    }
  }
}
