// ProxyProgramTests: starttls-proxy from its command line to the exec: what the server program gets, and what it does not.

import CKernel
import Foundation
import Glibc
import XCTest

final class ProxyProgramTests: ProxyTestCase {
  private func run(
    _ arguments: [String], _ channels: [CInt: TestDescriptor] = [:], _ environment: [String: String] = [:],
    closed: [CInt] = []
  ) throws -> ChannelProcess {
    let pair = TestDescriptor.sockets()
    defer {
      pair.0.close()
      pair.1.close()
    }
    var descriptors = channels
    for number: CInt in [0, 1] where !closed.contains(number) { descriptors[number] = pair.1 }
    let process = try start([try Programs.path("starttls-proxy")] + arguments, descriptors, environment)
    XCTAssertNotNil(process.wait(), "it does not end")
    return process
  }

  func testVariablesThatNameNoChannels() throws {
    let control = TestDescriptor.sockets()
    let data = TestDescriptor.pipe()
    let good = ["SSLCTLFD": "5", "SSLREADFD": "6", "SSLWRITEFD": "7"]
    let channels: [CInt: TestDescriptor] = [5: control.0, 6: data.reading, 7: data.writing]
    for (name, value, text) in [
      ("SSLCTLFD", nil, "SSLCTLFD is not set"), ("SSLREADFD", nil, "SSLREADFD is not set"),
      ("SSLWRITEFD", nil, "SSLWRITEFD is not set"), ("SSLCTLFD", "", "SSLCTLFD is not the number"),
      ("SSLCTLFD", "x", "SSLCTLFD is not the number"), ("SSLREADFD", "-6", "SSLREADFD is not the number"),
      ("SSLREADFD", "6 ", "SSLREADFD is not the number"), ("SSLREADFD", "+6", "SSLREADFD is not the number"),
      ("SSLWRITEFD", "99999999999999999999", "SSLWRITEFD is not the number"), ("SSLWRITEFD", "2147483648", "SSLWRITEFD is not the number"),
      ("SSLCTLFD", "9", "SSLCTLFD is not open"), ("SSLREADFD", "9", "SSLREADFD is not open"),
      ("SSLWRITEFD", "1000000", "SSLWRITEFD is not open"), ("SSLCTLFD", "0", "SSLCTLFD is one of the standard streams"),
      ("SSLWRITEFD", "1", "SSLWRITEFD is one of the standard streams"), ("SSLCTLFD", "6", "SSLCTLFD is not a socket"),
      ("SSLREADFD", "7", "SSLREADFD cannot be read from"), ("SSLWRITEFD", "6", "SSLWRITEFD cannot be written to"),
    ] as [(String, String?, String)] {
      var environment = good
      environment[name] = value
      let process = try run(["/bin/echo", "executed"], channels, environment)
      XCTAssertEqual(process.wait(), .exited(100), "\(name)=\(value ?? "")")
      let lines = process.errors.split(separator: "\n")
      XCTAssertEqual(lines.count, 1, process.errors)
      XCTAssertTrue(lines.first?.hasPrefix("starttls-proxy: \(text)") == true, process.errors)
    }
    for end in [control.0, control.1, data.reading, data.writing] { end.close() }
  }

  func testTheCommandLine() throws {
    for (arguments, text) in [
      ([], "no program to execute"), (["-Q"], "-Q is not an option"), (["--nonsense"], "--nonsense is not an option"),
      (["-p"], "-p needs a value"), (["-p", "none", "x"], "--policy must be one of opportunistic, required"),
      (["--protocol", "imap", "x"], "--protocol must be one of smtp, lmtp"),
      (["-H", "other", "x"], "--helper must be one of auto, s6, ucspi-ssl"), (["-K", "0", "x"], "--handshake-timeout must be from 1 to"),
      (["-t", "5s", "x"], "--idle-timeout must be an unsigned integer"), (["-l", "511", "x"], "--max-line must be from 512 to 16384"),
      (["-o", "256", "x"], "--max-outstanding must be from 1 to 255"), (["-a", "-p", "required", "x"], "--allow-cleartext-auth cannot be used"),
      (["x"], "SSLCTLFD is not set"), (["-v", "1", "--", "x"], "SSLCTLFD is not set"),
    ] as [([String], String)] {
      let process = try run(arguments)
      XCTAssertEqual(process.wait(), .exited(100), "\(arguments)")
      XCTAssertTrue(process.errors.hasPrefix("starttls-proxy: \(text)"), process.errors)
      XCTAssertEqual(process.errors.filter { $0 == "\n" }.count, 1, process.errors)
    }
    XCTAssertEqual(try run(["x"], closed: [0]).wait(), .exited(111))
    XCTAssertEqual(try run(["x"], closed: [1]).wait(), .exited(111))
  }

  func testHelpAndVersion() throws {
    for (option, beginning) in [("--help", "usage: starttls-proxy "), ("--version", "starttls-proxy ")] {
      let program = try SpawnedProgram([try Programs.path("starttls-proxy"), option], output: .file(folder.path + "/\(option)"))
      XCTAssertEqual(program.wait(), .exited(0))
      XCTAssertTrue(folder.text(option).hasPrefix(beginning), folder.text(option))
    }
  }

  func testAProgramThatCannotBeExecuted() throws {
    try folder.write(Array("text".utf8), to: "plain")
    for (name, code) in [("/nonexistent/smtpd", 127), ("nonexistent-smtpd", 127), (folder.path + "/plain", 126)] as [(String, CInt)] {
      for words in ["", "ssl"] {
        let connection = try proxied(words, program: [name, "an argument"])
        XCTAssertEqual(
          try connection.client.remainder().text, "421 4.3.2 Mail server not available, closing connection\r\n", name)
        connection.client.close()
        if words.isEmpty { XCTAssertEqual(connection.process.wait(), .exited(code)) } else { _ = connection.process.wait() }
        XCTAssertTrue(connection.process.errors.contains("starttls-proxy: \(name): execvp: "), connection.process.errors)
        connection.assertSeen(["declined"])
        assertNothingIsLeft()
      }
    }
  }

  /// Arguments octet by octet, the exit code, and options that are the program's own.
  func testTheProgramTakesTheProcess() throws {
    let script = "printf '%s|' \"$0\" \"$@\" >\"$FOLDER/arguments\"; printf '220 b\\r\\n'; read x; exit 7"
    let connection = try proxied(program: ["/bin/sh", "-c", script, "--help", "-v", "", "a b", "\u{e9}\n"])
    try connection.client.expect("220 ")
    let process = connection.process.process
    XCTAssertTrue(ProcessTable.commandLine(of: process).hasPrefix("/bin/sh -c"), "the original process is the server program")
    XCTAssertEqual(ProcessTable.children(of: process), [], "the server program has no child")
    connection.client.close()
    XCTAssertEqual(connection.process.wait(), .exited(7))
    XCTAssertEqual(folder.text("arguments"), "--help|-v||a b|\u{e9}\n|")
    assertNothingIsLeft()
  }

  func testTheProgramsEnvironment() throws {
    let given = [
      "SSL_PROTOCOL": "TLSv1.3", "TLS_UID": "1", "UCSPITLS": "!", "SSLX": "stays", "CERTFILE": "stays", "TCPREMOTEIP": "192.0.2.1",
      "TCPREMOTEPORT": "77",
    ]
    for words in ["", "ssl"] {
      let connection = try proxied(words, script: "printf '220 b\\r\\n'; read x", environment: given)
      try connection.client.expect("220 ")
      let program = words.isEmpty ? connection.process.process : ProcessTable.children(of: connection.process.process)[0]
      let names = Set(ProcessTable.environment(of: program).map { String($0.prefix { $0 != "=" }) })
      for name in ["SSLCTLFD", "SSLREADFD", "SSLWRITEFD", "UCSPITLS", "SSL_PROTOCOL", "TLS_UID"] {
        XCTAssertFalse(names.contains(name), "\(name) \(words)")
      }
      for name in ["SSLX", "CERTFILE", "TCPREMOTEIP", "PATH", "FOLDER"] { XCTAssertTrue(names.contains(name), "\(name) \(words)") }
      connection.client.close()
      connection.assertLine("peer=192.0.2.1:77")
      assertNothingIsLeft()
    }
  }

  /// Each process has what is its own, and nothing of the other's.
  func testDescriptors() throws {
    for words in ["", "one", "two", "all", "ssl"] {
      let connection = try proxied(words, script: "printf '220 b\\r\\n'; read x; read y; read z")
      try connection.client.expect("220 ")
      let isSSL = words == "ssl"
      let program = isSSL ? ProcessTable.children(of: connection.process.process)[0] : connection.process.process
      let inode = try XCTUnwrap(ProcessTable.acceptedSocket(on: connection.client.peerPort, from: connection.client.ownPort))
      let programs = ProcessTable.descriptors(of: program)
      XCTAssertEqual(programs.count, isSSL ? 4 : 3, "\(words): \(programs)")
      XCTAssertEqual(programs[0], programs[1])
      XCTAssertFalse(programs.values.contains(inode), "the program has the client's connection")
      let proxy = try XCTUnwrap(proxies.first)
      let own = ProcessTable.descriptors(of: proxy)
      // The client's socket once, standard error, the server's end, and the channels; a shared number was doubled.
      XCTAssertEqual(own.count, 3 + 3, "\(words): \(own)")
      XCTAssertEqual(own.filter { $0.value == inode }.count, 1)
      XCTAssertFalse(own.values.contains(programs[0] ?? ""), "the proxy has the program's end")
      connection.client.close()
      assertNothingIsLeft()
    }
  }

  /// What the server program inherits from further up is its own: the proxy must not hold it open.
  func testTheProxyKeepsNothingOfTheProgram() throws {
    let listener = try TestListener()
    let client = try SMTPClient(port: listener.port) { try self.engine }
    let server = try listener.accept()
    let pipe = TestDescriptor.pipe()
    try folder.write(Array(StandInServer.script.utf8), to: "standin.py")
    let process = try start(
      ["/usr/bin/python3", "-IS", "\(folder.path)/standin.py", "", "\(folder.path)/notes", try Programs.path("starttls-proxy"), "/bin/sh",
        "-c", "exec 1<&-; exec sleep 30"], [0: server, 1: server, 40: pipe.writing], [:])
    server.close()
    pipe.writing.close()
    XCTAssertTrue(eventually { ProcessTable.commandLine(of: process.process).hasPrefix("sleep") })
    let proxy = try XCTUnwrap(proxies.first)
    XCTAssertTrue(eventually { ProcessTable.descriptors(of: proxy).count == 6 })
    XCTAssertNil(ProcessTable.descriptors(of: proxy)[40])
    XCTAssertNotNil(ProcessTable.descriptors(of: process.process)[40])
    client.close()
    // The proxy is gone, the server program goes on: no zombie is left to it.
    XCTAssertTrue(eventually { proxies.isEmpty })
    XCTAssertTrue(process.isRunning)
    XCTAssertEqual(ProcessTable.children(of: process.process), [])
    process.kill()
    assertNothingIsLeft()
  }

  func testSignals() throws {
    let connection = try proxied(script: "printf '220 b\\r\\n'; read x")
    try connection.client.expect("220 ")
    func ignored(_ process: pid_t) throws -> UInt64 {
      let text = String(decoding: FileManager.default.contents(atPath: "/proc/\(process)/status") ?? Data(), as: UTF8.self)
      let line = try XCTUnwrap(text.split(separator: "\n").first { $0.hasPrefix("SigIgn:") })
      return try XCTUnwrap(UInt64(line.dropFirst(8), radix: 16))
    }
    let pipe: UInt64 = 1 << UInt64(SIGPIPE - 1)
    XCTAssertEqual(try ignored(connection.process.process) & pipe, 0)
    XCTAssertEqual(try ignored(try XCTUnwrap(proxies.first)) & pipe, pipe)
    connection.client.close()
    assertNothingIsLeft()
  }

  func testPolicies() throws {
    let required = try proxied("", ["-p", "required"])
    try required.greet()
    XCTAssertEqual(try required.client.ask("MAIL FROM:<a@b>"), "530 5.7.0 Must issue a STARTTLS command first")
    try required.secure()
    XCTAssertEqual(try required.client.ask("EHLO x"), "250-backend|250 SIZE 1000")
    XCTAssertEqual(try required.client.ask("MAIL FROM:<a@b>"), "250 done")
    required.client.close()
    assertNothingIsLeft()

    let lmtp = try proxied("", ["--protocol", "lmtp"], script: ShellBackend.script(answers: [("LHLO*", "say '250 b'")]))
    try lmtp.client.expect("220 ")
    XCTAssertEqual(try lmtp.client.ask("EHLO x"), "500 5.5.1 This is LMTP, use LHLO")
    XCTAssertEqual(try lmtp.client.ask("LHLO x"), "250-b|250 STARTTLS")
    try lmtp.secure()
    lmtp.client.close()
    assertNothingIsLeft()

    let quiet = try proxied("", ["-v", "0"])
    try quiet.greet()
    quiet.client.close()
    assertNothingIsLeft()
    XCTAssertEqual(quiet.process.errors, "")
  }
}
