// StandardErrorTests: where lines of log go when standard error is the client's, and what the programs that are started get.

import CKernel
import Foundation
import Glibc
import XCTest

final class StandardErrorTests: ProxyTestCase {
  /// Starts a program under a shell that first does something with descriptors.
  private func redirected(_ redirections: String, _ words: [String]) -> [String] {
    ["/bin/sh", "-c", "exec \"$@\" \(redirections)", "sh"] + words
  }

  // MARK: The client's socket as standard error

  /// Whatever is wrong, the client gets no octet of it.
  func testNoLineGoesToTheClient() throws {
    for words in [
      ["ucspi-tlsd", "--bogus"], ["ucspi-tlsd", "/nowhere"], ["starttls-proxy", "--bogus"], ["starttls-proxy", "/bin/cat"],
      ["tlsd-io", "--bogus"], ["tlsd-io", "5", "6"], ["maildir-smtpd", "--bogus"], ["maildir-smtpd"],
    ] {
      let program = try Programs.path(words[0])
      let (client, server) = TestDescriptor.sockets()
      let process = try start(redirected("2>&0", [program] + words.dropFirst()), [0: server, 1: server], [:])
      server.close()
      XCTAssertEqual(try client.remainder(), [], "\(words)")
      guard case .exited(let code)? = process.wait(), code >= 100 else { return XCTFail("\(words)") }
    }
  }

  /// A pipe to the client is one as well, once there is a session.
  func testNoLineGoesIntoTheClientsPipe() throws {
    let (input, output) = (TestDescriptor.pipe(), TestDescriptor.pipe())
    let words = [try Programs.path("maildir-smtpd"), "--hostname", "mx.example", folder.path + "/Maildir"]
    let process = try start(redirected("2>&1", words), [0: input.reading, 1: output.writing], [:])
    output.writing.close()
    input.writing.write(
      Array("HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n.\r\nQUIT\r\n".utf8))
    let lines = String(decoding: try output.reading.remainder(), as: UTF8.self).components(separatedBy: "\r\n")
    XCTAssertEqual(lines.map { $0.prefix(3) }, ["220", "250", "250", "250", "354", "250", "221", ""])
    XCTAssertEqual(process.wait(), .exited(0))
    // What is wrong with the command line is still for whoever reads the pipe.
    let errors = TestDescriptor.pipe()
    let wrong = try start(redirected("2>&1", [words[0], "--bogus"]), [0: input.reading, 1: errors.writing], [:])
    errors.writing.close()
    XCTAssertEqual(
      String(decoding: try errors.reading.remainder(), as: UTF8.self), "maildir-smtpd: --bogus is not an option; see --help\n")
    XCTAssertEqual(wrong.wait(), .exited(100))
  }

  /// Standard error of the server program, and of the engine, is not the client's socket.
  func testTheClientsSocketIsNotPassedOn() throws {
    try assertErrors(of: "2>&0") { errors, client in !errors.isEmpty && errors != client }
  }

  // MARK: No standard error

  /// /dev/null stands in for it, in the programs that are executed too: they could open a file as number 2 otherwise.
  func testDevNullIsPassedOn() throws {
    try assertErrors(of: "2>&-") { errors, _ in errors == "/dev/null" }
  }

  /// Whether descriptor 2 is right in what ucspi-tlsd and starttls-proxy execute: the server program, and the TLS engine.
  ///
  /// - Parameter isRight: gets what descriptor 2 and the client's connection are open on.
  private func assertErrors(
    of redirection: String, file: StaticString = #filePath, line: UInt = #line, _ isRight: (String, String) -> Bool
  ) throws {
    let note = "readlink /proc/$$/fd/2 > \(folder.path)"
    let engine = try folder.write(Array("#!/bin/sh\n\(note)/engine\n".utf8), to: "engine.sh")
    chmod(engine, 0o755)
    let server = "\(note)/server; eval \"printf y >&$SSLCTLFD\""
    for (name, words) in [
      ("ucspi-tlsd", [try Programs.path("ucspi-tlsd"), "--engine", engine, "/bin/sh", "-c", server]),
      (
        "starttls-proxy",
        [try Programs.path("ucspi-tlsd"), try Programs.path("starttls-proxy"), "/bin/sh", "-c", "\(note)/server"]
      ),
    ] {
      let isProxied = name == "starttls-proxy"
      let (client, end) = TestDescriptor.sockets()
      var status = stat()
      XCTAssertEqual(fstat(end.number, &status), 0)
      let process = try start(redirected(redirection, words), [0: end, 1: end], credentials())
      end.close()
      XCTAssertNotNil(process.wait(), file: file, line: line)
      for place in isProxied ? ["server"] : ["server", "engine"] {
        XCTAssertTrue(eventually { folder.text(place).hasSuffix("\n") }, "\(name): \(place)", file: file, line: line)
        let errors = String(folder.text(place).dropLast())
        XCTAssertTrue(
          isRight(errors, "socket:[\(status.st_ino)]"), "\(name), \(place): 2 is \(errors)", file: file, line: line)
        unlink("\(folder.path)/\(place)")
      }
      client.close()
      assertNothingIsLeft(file: file, line: line)
    }
  }

  // MARK: A log that takes no line

  /// A pipe without a reader, and a file that may not grow: their signals end no session.
  func testALogThatTakesNoLineEndsNoSession() throws {
    for shell in ["exec \"$@\" 2>&3 3>&-", "ulimit -f 0; exec \"$@\" 2>>\(folder.path)/full 3>&-"] {
      let listener = try TestListener()
      let client = try SMTPClient(port: listener.port) { try self.engine }
      let (server, log) = (try listener.accept(), TestDescriptor.pipe())
      log.reading.close()
      let process = try start(
        [
          "/bin/sh", "-c", shell, "sh", try Programs.path("ucspi-tlsd"), "-v", "2", try Programs.path("starttls-proxy"), "-v", "2",
          "/bin/sh", "-c", ShellBackend.script(),
        ], [0: server, 1: server, 3: log.writing], credentials())
      for end in [server, log.writing] { end.close() }
      try client.expect("220 ")
      try client.ask("EHLO client.example")
      try client.startTLS()
      XCTAssertEqual(try client.ask("QUIT"), "221 bye", shell)
      client.close()
      XCTAssertEqual(process.wait(), .exited(0), shell)
      assertNothingIsLeft()
    }
  }

  // MARK: The system's log

  /// A datagram socket as standard error, as it is passed on: each line in the form of RFC 3164.
  func testLinesAreDatagrams() throws {
    let log = try datagrams()
    let (client, end) = TestDescriptor.sockets()
    let process = try start(
      redirected("2>&3 3>&-", [try Programs.path("tlsd-io"), "--bogus"]), [0: end, 1: end, 3: log.sending], [:])
    XCTAssertEqual(process.wait(), .exited(100))
    try assertLine(log.receiving, "tlsd-io", process.process, "--bogus is not an option; see --help")
    client.close()
  }

  /// A log at /dev/log gets every line, those of the server program among them; in a name space of its own.
  func testTheLogGetsTheLines() throws {
    let unshare = ["/usr/bin/unshare", "--map-root-user", "--mount", "/bin/sh", "-c"]
    guard try SpawnedProgram(unshare + ["mount --bind /dev/null /dev/null"]).wait() == .exited(0) else {
      throw XCTSkip("no mount name spaces here")
    }
    let log = try datagrams(at: "log")
    let devices = folder.path
    try folder.write([], to: "null")
    let mount = "mount --bind /dev/null \(devices)/null && mount --rbind \(devices) /dev && exec \"$@\" 2>&0"
    let (client, end) = TestDescriptor.sockets()
    let server = "echo from the server >&2"
    let process = try start(
      unshare + [mount, "sh", try Programs.path("ucspi-tlsd"), "-v", "2", "/bin/sh", "-c", server], [0: end, 1: end],
      credentials())
    end.close()
    XCTAssertEqual(process.wait(), .exited(0), process.errors)
    XCTAssertEqual(try client.remainder(), [])
    var lines = [try log.receiving.read(), try log.receiving.read()].map { String(decoding: $0, as: UTF8.self) }
    lines.sort { $0.hasPrefix("from") && !$1.hasPrefix("from") }
    XCTAssertEqual(lines[0], "from the server\n")
    XCTAssertTrue(lines[1].hasPrefix("<22>"), lines[1])
    XCTAssertTrue(lines[1].hasSuffix("]: pid \(process.process) declined opportunistic TLS"), lines[1])
  }

  private func assertLine(
    _ log: TestDescriptor, _ program: String, _ process: pid_t, _ text: String, file: StaticString = #filePath,
    line number: UInt = #line
  ) throws {
    let line = String(decoding: try log.read(), as: UTF8.self)
    // `<22>Nov  1 00:00:00 `
    XCTAssertTrue(line.hasPrefix("<22>"), line, file: file, line: number)
    let rest = line.dropFirst(4)
    XCTAssertEqual(rest.dropFirst(3).prefix(1), " ", line, file: file, line: number)
    XCTAssertEqual(rest.prefix(16).filter { $0 == ":" }.count, 2, line, file: file, line: number)
    XCTAssertEqual(rest.dropFirst(16), "\(program)[\(process)]: \(text)", file: file, line: number)
  }

  /// A Unix datagram socket that receives and one that is connected to it; the first has the name of a file if one is given.
  private func datagrams(at name: String? = nil) throws -> (receiving: TestDescriptor, sending: TestDescriptor) {
    let kind = CInt(SOCK_DGRAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue)
    guard let name else {
      var ends: [CInt] = [-1, -1]
      XCTAssertEqual(socketpair(AF_UNIX, kind, 0, &ends), 0)
      return (TestDescriptor(ends[0]), TestDescriptor(ends[1]))
    }
    let receiving = TestDescriptor(socket(AF_UNIX, kind, 0))
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: "\(folder.path)/\(name)".utf8) }
    let isBound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(receiving.number, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
      }
    }
    guard isBound else { throw Failure("bind: \(String(cString: strerror(errno)))") }
    return (receiving, TestDescriptor(-1))
  }
}
