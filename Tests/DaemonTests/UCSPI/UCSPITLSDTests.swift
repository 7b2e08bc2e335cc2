// UCSPITLSDTests: ucspi-tlsd between a server program and its helper.
//
// The server programs are small shell scripts. The test adopts orphans, so the helper, which nobody waits for,
// becomes its child and shows its exit code.

import CKernel
import Foundation
import Glibc
import PropertyCases
import XCTest

final class UCSPITLSDTests: AdoptingTestCase {
  /// Everything that was put into TLS comes back in capitals, after the report.
  private let echo = """
    printf Y >&$SSLCTLFD
    cat <&$SSLCTLFD >"$FOLDER/report"
    tr a-z A-Z <&$SSLREADFD >&$SSLWRITEFD
    """

  func testTheWholeChain() throws {
    for version in ["2", "3"] {
      let session = try session(echo, ["-S"])
      try session.peer.handshake(version)
      try session.peer.send("hello\n")
      try session.peer.endSending()
      XCTAssertEqual(try session.peer.remainder(), Array("HELLO\n".utf8))
      XCTAssertEqual(session.peer.end, .closeNotify)
      let helper = session.helper
      XCTAssertEqual(session.process.wait(), .exited(0), session.process.errors)
      XCTAssertEqual(exitCode(of: helper), 0)
      XCTAssertEqual(session.process.errors, "")
      let cipher = try session.peer.facts.split(separator: " ")[1]
      let report = folder.text("report")
      XCTAssertTrue(report.hasPrefix("SSL_PROTOCOL=TLSv1.\(version)\0SSL_CIPHER=TLS_"), report)
      XCTAssertTrue(
        report.hasSuffix("\0SSL_TLS_SNI_SERVERNAME=mx.example\0SSL_PEER_CERT_HASH\0SSL_PEER_CERT_SUBJECT\0\0"), report)
      if version == "3" { XCTAssertTrue(report.contains("SSL_CIPHER=\(cipher)\0"), report) }
    }
  }

  func testTheShortCommandGetsNoReport() throws {
    let session = try session("printf y >&$SSLCTLFD; cat <&$SSLCTLFD >\"$FOLDER/report\"; cat <&$SSLREADFD >&$SSLWRITEFD")
    try session.peer.handshake()
    try session.peer.send("x")
    try session.peer.endSending()
    XCTAssertEqual(try session.peer.remainder(), Array("x".utf8))
    XCTAssertEqual(session.process.wait(), .exited(0))
    XCTAssertEqual(folder.contents("report"), [])
    XCTAssertTrue(FileManager.default.fileExists(atPath: folder.path + "/report"), "the control socket did not end")
  }

  func testOtherCommandsAndTheEnd() throws {
    for (script, code, text) in [
      ("exit 7", 0, ""),
      ("eval \"exec $SSLCTLFD>&- $SSLREADFD>&- $SSLWRITEFD>&-\"; read x; exit 7", 0, ""),
      ("printf x >&$SSLCTLFD; cat <&$SSLCTLFD; exit 7", 100, "unrecognized command"),
      ("printf Y >&$SSLCTLFD; exit 7", 98, "TLS handshake: the server program is gone"),
      ("printf '\\0' >&$SSLCTLFD; cat <&$SSLCTLFD; exit 7", 100, "unrecognized command"),
    ] as [(String, CInt, String)] {
      let session = try session("read go; " + script)
      let helper = session.helper
      XCTAssertGreaterThan(helper, 0)
      session.peer.output.write(Array("go\nx\n".utf8))
      XCTAssertEqual(exitCode(of: helper), code, "\(script): \(session.process.errors)")
      XCTAssertEqual(session.process.wait(), .exited(7))
      let errors = session.process.errors
      XCTAssertTrue(text.isEmpty ? errors.isEmpty : errors.contains(text), errors)
    }
    let verbose = try session("exit 0", ["-v", "2"])
    XCTAssertEqual(verbose.process.wait(), .exited(0))
    XCTAssertTrue(
      eventually { verbose.process.errors == "ucspi-tlsd: pid \(verbose.process.process) declined opportunistic TLS\n" },
      verbose.process.errors)
  }

  func testAFailedHandshakeIsAnEndWithoutAnOctet() throws {
    let session = try session("printf Y >&$SSLCTLFD; cat <&$SSLCTLFD >\"$FOLDER/c\"; cat <&$SSLREADFD >\"$FOLDER/d\"; exit 5")
    let helper = session.helper
    session.peer.output.write(Array("no TLS at all\r\n".utf8))
    XCTAssertEqual(session.process.wait(), .exited(5))
    session.peer.output.close()
    XCTAssertEqual(exitCode(of: helper), 98)
    XCTAssertEqual(folder.contents("c") + folder.contents("d"), [])
    XCTAssertTrue(session.process.errors.hasPrefix("tlsd-io: TLS handshake: "), session.process.errors)
  }

  /// What can be known beforehand ends the helper before the server program can promise anything.
  func testAHelperThatCannotWorkEndsAtOnce() throws {
    let server = try credentials()
    for (options, environment, code, text) in [
      ([], [:], 100, "CERTFILE is not set"),
      ([], server.merging(["KEYFILE": "/none.key"]) { $1 }, 96, "KEYFILE /none.key: access: No such file"),
      (["--engine", "/none/tlsd-io"], server, 127, "/none/tlsd-io: access: No such file"),
      (["--engine", "none-tlsd-io"], server, 127, "none-tlsd-io: not found"),
      (["--engine", "/etc/passwd"], server, 126, "/etc/passwd: access: Permission denied"),
    ] as [([String], [String: String], CInt, String)] {
      let session = try session("cat <&$SSLCTLFD; echo clear; exit 3", options, environment)
      XCTAssertEqual(try session.peer.input.read(), Array("clear\n".utf8), "the program works without TLS")
      XCTAssertEqual(session.process.wait(), .exited(3))
      XCTAssertTrue(session.process.errors.hasPrefix("ucspi-tlsd: \(text)"), session.process.errors)
      XCTAssertEqual(exitCode(of: session.helper), code, text)
    }
  }

  func testWrongCallsAndPrograms() throws {
    for (arguments, code, text) in [
      ([], 100, "no program to execute"), (["-x", "cat"], 100, "-x is not an option"),
      (["-K", "1s", "cat"], 100, "--handshake-timeout must be an unsigned integer"),
      (["-v"], 100, "-v needs a value"), (["/none/prog"], 127, "/none/prog: execvp: No such file"),
      (["/etc/passwd"], 126, "/etc/passwd: execvp: Permission denied"),
    ] as [([String], CInt, String)] {
      let (client, server) = TestDescriptor.sockets()
      let process = try start([try Programs.path("ucspi-tlsd")] + arguments, [0: server, 1: server], credentials())
      XCTAssertEqual(process.wait(), .exited(code))
      XCTAssertTrue(process.errors.hasPrefix("ucspi-tlsd: \(text)"), process.errors)
      client.close()
    }
    let process = try start([try Programs.path("ucspi-tlsd"), "cat"], [:], credentials())
    XCTAssertEqual(process.wait(), .exited(111))
  }

  // MARK: What the server program gets

  func testTheProgramsDescriptorsProcessAndEnvironment() throws {
    let secrets = [
      "CADIR": "a", "CAFILE": "b", "CRLFILE": "e", "CERTFILE:x": "c", "KEYFILE:x": "d", "TLS_UID": "1", "TLS_GID": "2", "CERTFILES": "kept",
      "SSLCTLFD": "99", "OCSPFILE": "f", "OCSPFILE:x": "g",
    ]
    // Of another session: with one of them s/qmail lets a client relay.
    let lies = ["SSL_CLIENT_S_DN": "CN=relay", "SSL_PROTOCOL": "TLSv1.3", "SSL_PEER_CERT_HASH": "x", "TLS_CIPHER": "x"]
    let names = ["CADIR", "CAFILE", "CRLFILE", "CERTFILE", "CERTFILE:x", "KEYFILE", "KEYFILE:x", "OCSPFILE", "OCSPFILE:x", "TLS_GID", "TLS_UID"]
    for (options, seen) in [([], []), (["-Z"], names), (["-Z", "-z"], [])] as [([String], [String])] {
      let session = try session("read x", options, credentials().merging(secrets) { $1 }.merging(lies) { $1 }.merging(["SSL_CERT_DIR": "/kept"]) { $1 })
      XCTAssertTrue(eventually { ProcessTable.commandLine(of: session.process.process).hasPrefix("/bin/sh") })
      let program = session.process.process
      let channels = ["SSLCTLFD", "SSLREADFD", "SSLWRITEFD"].compactMap { Int(value($0, of: program)) }
      XCTAssertEqual(channels.count, 3)
      XCTAssertEqual(Set(ProcessTable.descriptors(of: program).keys), Set([0, 1, 2] + channels))
      let helper = session.helper
      XCTAssertTrue(eventually { ProcessTable.descriptors(of: helper).count == 6 }, "the helper holds its own three only")
      XCTAssertTrue(Set(ProcessTable.descriptors(of: helper).keys).isDisjoint(with: channels))
      let environment = ProcessTable.environment(of: program)
      XCTAssertEqual(names.filter { name in environment.contains { $0.hasPrefix("\(name)=") } }, seen, "\(options)")
      XCTAssertTrue(environment.contains("CERTFILES=kept") && environment.contains("SSL_CERT_DIR=/kept"))
      XCTAssertEqual(lies.keys.filter { name in environment.contains { $0.hasPrefix("\(name)=") } }, [], "\(options)")
      XCTAssertEqual(environment.filter { $0.hasPrefix("SSLCTLFD=") }.count, 1)
      XCTAssertEqual(ProcessTable.children(of: program), [], "neither a helper nor a zombie")
      session.peer.output.close()
      XCTAssertEqual(session.process.wait(), .exited(1))
    }
  }

  // MARK: Nothing is lost

  /// The server program writes its last reply and ends at once, with input unread: the reply arrives.
  func testTheLastReplyArrivesBeforeTheEnd() throws {
    let script = "printf y >&$SSLCTLFD; read x <&$SSLREADFD; printf '250 taken\\r\\n221 bye\\r\\n' >&$SSLWRITEFD"
    let listener = try TestListener()
    for round in 0..<Extent.choose(quick: 75, full: 300) {
      let (client, server) = try listener.connection()
      let session = try session(script, [], sockets: (client, server))
      try session.peer.handshake(round % 2 == 0 ? "2" : "3")
      try session.peer.send("one line\nand what the program never reads\nQUIT\r\n")
      XCTAssertEqual(try session.peer.remainder(), Array("250 taken\r\n221 bye\r\n".utf8), "session \(round)")
      session.peer.input.close()
      XCTAssertEqual(session.process.wait(), .exited(0))
      forget(session)
    }
  }

  // MARK: Flags

  /// No code of ours sets a flag on the client's connection, at no time, however it ends.
  func testFlagsOfTheConnectionStayAsTheyWere() throws {
    for isNonBlocking in [false, true] {
      for point in ["waiting", "handshaking", "relaying", "killed"] {
        let (client, server) = try TestListener().connection()
        if isNonBlocking { _ = fcntl(server.number, F_SETFL, server.flags | O_NONBLOCK) }
        let before = server.flags
        let held = TestDescriptor(kernel_duplicate_above(server.number, 3))
        // The shell must not read from a socket that may be non-blocking.
        let go = "\(folder.path)/go.\(isNonBlocking).\(point)"
        let script = "until [ -e \(go) ]; do sleep 0.01; done; " + echo
        let session = try session(script, [], sockets: (client, server))
        let helper = session.helper
        XCTAssertEqual(held.flags, before, "waiting")
        if point != "waiting" {
          try folder.write([], to: (go as NSString).lastPathComponent)
          XCTAssertTrue(eventually { ProcessTable.commandLine(of: helper).contains("tlsd-io") }, "no engine")
          XCTAssertEqual(held.flags, before, "handshaking")
        }
        if point == "relaying" || point == "killed" {
          try session.peer.handshake()
          try session.peer.send("x\n")
          XCTAssertEqual(held.flags, before, "relaying")
        }
        if point == "killed" {
          kill(helper, SIGKILL)
        } else if point == "relaying" {
          try session.peer.endSending()
          XCTAssertEqual(try session.peer.remainder(), Array("X\n".utf8))
        }
        client.close()
        session.process.kill()
        XCTAssertNotNil(exitCode(of: helper))
        XCTAssertEqual(held.flags, before, "\(point), non-blocking: \(isNonBlocking)")
      }
    }
  }
}
