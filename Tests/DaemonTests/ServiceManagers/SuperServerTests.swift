// SuperServerTests: one connection a process, under every super-server that Debian has.

import Foundation
import Glibc
import XCTest

final class SuperServerTests: ServiceManagerTestCase {
  private var user: String { getpwuid(getuid()).map { String(cString: $0.pointee.pw_name) } ?? "root" }

  /// Debian's default inetd.
  func testOpenBSDInetd() throws {
    try underInetd("/usr/sbin/inetd", ["-i"])
  }

  func testInetutilsInetd() throws {
    try underInetd(try unpacked("/usr/sbin/inetutils-inetd"), ["-d"])
  }

  private func underInetd(_ inetd: String, _ options: [String]) throws {
    let port = try freePort()
    let words = try starttlsd(["--inetd"])
    // inetd splits at blanks and has no quotes.
    let starter = try script("exec env \(mark) FOLDER=\(folder.path) \(quoted(words)) 2>>\(folder.path)/log", "start")
    let entry = "127.0.0.1:\(port) stream tcp nowait \(user) \(starter) start\n"
    let configuration = try folder.write(Array(entry.utf8), to: "inetd.conf")
    try serve(port, [inetd] + options + [configuration])
  }

  /// Standard error is the client's connection: nothing of the log may reach it.
  func testNoLineReachesTheClient() throws {
    let port = try freePort()
    let starter = try script("exec env \(mark) FOLDER=\(folder.path) \(quoted(try starttlsd(["--inetd"])))", "start")
    let entry = "127.0.0.1:\(port) stream tcp nowait \(user) \(starter) start\n"
    let configuration = try folder.write(Array(entry.utf8), to: "inetd.conf")
    let inetd = try SpawnedProgram(["/usr/sbin/inetd", "-i", configuration], environment: environment)
    defer { inetd.kill() }
    try session(try connected(port, inetd))
    // In clear: the bytes after the reply to QUIT are the end.
    let client = try connected(port, inetd)
    try client.expect("220 ")
    try client.send("QUIT\r\n")
    XCTAssertEqual(try client.remainder().text, "221 bye\r\n")
  }

  func testXinetd() throws {
    let port = try freePort()
    let starter = try script("exec \(quoted(try starttlsd(["--inetd"]))) 2>>\(folder.path)/log", "start")
    let settings = """
      service smtp-test
      {
        type = UNLISTED
        socket_type = stream
        protocol = tcp
        wait = no
        user = \(user)
        bind = 127.0.0.1
        port = \(port)
        server = \(starter)
        env = \(mark) FOLDER=\(folder.path)
      }

      """
    let configuration = try folder.write(Array(settings.utf8), to: "xinetd.conf")
    try serve(port, [
      try unpacked("/usr/sbin/xinetd"), "-dontfork", "-f", configuration, "-pidfile", folder.path + "/pid", "-filelog",
      folder.path + "/xinetd.log",
    ])
  }

  func testTcpserver() throws {
    let port = try freePort()
    try serve(port, ["/usr/bin/tcpserver", "-RHl0", "127.0.0.1", "\(port)"] + starttlsd(["--inetd"]))
  }

  /// Port 465: the client begins with TLS.
  func testTcpserverWithTLSFromTheStart() throws {
    let port = try freePort()
    let words = ["/usr/bin/tcpserver", "-RHl0", "127.0.0.1", "\(port)"] + (try starttlsd(["--inetd", "--implicit-tls"]))
    let server = try SpawnedProgram(words, environment: environment, errors: .file(folder.path + "/log"))
    defer { server.kill() }
    let client = try connected(port, server)
    try client.sendRaw(try client.beginTLS())
    try client.finishHandshake()
    try client.expect("220 ")
    let reply = try client.ask("NOOP")
    XCTAssertTrue(reply.contains("SSL_PROTOCOL=TLSv1.3") && reply.contains("TCPREMOTEIP=127.0.0.1"), reply)
    XCTAssertEqual(try client.ask("QUIT"), "221 bye")
    XCTAssertEqual(try client.remainder().end, .closeNotify)
    client.close()
    XCTAssertTrue(eventually { log.contains("decision=implicit") }, log)
  }

  func testTcpsvd() throws {
    let port = try freePort()
    try serve(port, ["/usr/bin/tcpsvd", "127.0.0.1", "\(port)"] + starttlsd(["--inetd"]))
  }

  /// `Accept=yes`: the connection is descriptor 3.
  func testSystemdAccept() throws {
    let port = try freePort()
    try serve(port, activate(port, ["-a"]) + starttlsd(["--inetd"]))
  }

  /// `Accept=yes` and `StandardInput=socket`.
  func testSystemdAcceptAsInetd() throws {
    let port = try freePort()
    let starter = try script("exec \(quoted(try starttlsd(["--inetd"]))) 2>>\(folder.path)/log", "start")
    try serve(port, activate(port, ["-a", "--inetd"]) + [starter])
  }

  private func activate(_ port: UInt16, _ options: [String]) -> [String] {
    ["/usr/bin/systemd-socket-activate", "-l", "127.0.0.1:\(port)", "-E", "STARTTLSD_TEST", "-E", "FOLDER"] + options
  }

  /// Has a super-server start starttlsd for three clients, two of them at the same time.
  private func serve(_ port: UInt16, _ words: [String], file: StaticString = #filePath, line: UInt = #line) throws {
    guard FileManager.default.isExecutableFile(atPath: words[0]) else { throw Failure("\(words[0]): make setup-test") }
    // What a starting script redirects goes to the file `log`; what the super-server inherits from us as well.
    let server = try SpawnedProgram(words, environment: environment, errors: .file(folder.path + "/log"))
    defer { server.kill() }
    let first = try connected(port, server)
    try SessionPhase.negotiating.enter(first)
    let second = try connected(port, server)
    try SessionPhase.negotiating.enter(second)
    XCTAssertEqual(try first.ask("QUIT"), "221 bye")
    first.close()
    XCTAssertEqual(try second.ask("QUIT"), "221 bye")
    second.close()
    assertEnvironment(try session(try connected(port, server)), file: file, line: line)
    XCTAssertTrue(eventually { sessionLines.count == 3 }, log, file: file, line: line)
    XCTAssertFalse(log.contains("listening on"), log, file: file, line: line)
    XCTAssertFalse(log.contains("stopped"), log, file: file, line: line)
    // The processes end with their sessions.
    XCTAssertTrue(eventually { daemonProcess == nil }, log, file: file, line: line)
  }

  /// A super-server may keep its copy of the connection, so that the kernel reports events of it after the session: starttlsd waits
  /// for its program without using the processor.
  func testASuperServerThatKeepsTheConnection() throws {
    let listener = try TestListener()
    let connection = try listener.connection()
    let lingering = try script(ShellBackend.script(answers: [("QUIT*", "say '221 bye'; exec sleep 2 >/dev/null <&-")]), "lingering")
    let words = try starttlsd(["--inetd"]).dropLast() + [lingering]
    let number = connection.server.number
    let program = try SpawnedProgram(
      Array(words), environment: environment, input: .descriptor(number), output: .descriptor(number), errors: .file(folder.path + "/log"))
    let client = connection.client
    client.write(Array("EHLO c\r\nQUIT\r\n".utf8))
    XCTAssertTrue(eventually { sessionLines.count == 1 }, log)
    let before = try XCTUnwrap(ProcessTable.processorTime(of: program.process))
    var after = before
    // Until the program has ended, two seconds later.
    while program.isRunning {
      after = ProcessTable.processorTime(of: program.process) ?? after
      usleep(50_000)
    }
    XCTAssertEqual(program.wait(), .exited(0))
    XCTAssertLessThan(after - before, 0.5, "seconds of processor time")
  }

  // MARK: What cannot be served

  func testWrongConnections() throws {
    let pair = TestDescriptor.sockets()
    let listener = try TestListener()
    let connection = try listener.connection()
    for (options, input, text) in [
      (["--inetd"], .nowhere, "descriptor 0 is not a connected stream socket"),
      (["--inetd", "--listen", "127.0.0.1:0"], .descriptor(pair.0.number), "remove --listen"),
      (["--inetd"], .descriptor(pair.0.number), "standard output is not the client's connection"),
      ([], .descriptor(connection.server.number), "standard input is a client's connection: give --inetd"),
    ] as [([String], SpawnedProgram.Stream, String)] {
      let words = try starttlsd(options)
      let errors = folder.path + "/errors"
      unlink(errors)
      let program = try SpawnedProgram(words, environment: environment, input: input, errors: .file(errors))
      XCTAssertEqual(program.wait(), .exited(100), "\(options)")
      let written = folder.text("errors")
      XCTAssertTrue(written.hasPrefix("starttlsd: ") && written.contains(text), written)
      XCTAssertEqual(written.filter { $0 == "\n" }.count, 1, written)
    }
  }
}
