// SocketActivationTests: sockets that systemd passes, with its own starter.

import CKernel
import Foundation
import Glibc
import XCTest

final class SocketActivationTests: ServiceManagerTestCase {
  private func activate(_ ports: [UInt16], _ options: [String]) throws -> [String] {
    let program = "/usr/bin/systemd-socket-activate"
    guard FileManager.default.isExecutableFile(atPath: program) else { throw Failure("\(program): make setup-test") }
    return [program, "-E", "STARTTLSD_TEST", "-E", "FOLDER"] + ports.flatMap { ["-l", "127.0.0.1:\($0)"] } + options
  }

  /// Several sockets with names; no other port is opened.
  func testSeveralSocketsWithNames() throws {
    let ports = [try freePort(), try freePort()]
    let program = try SpawnedProgram(
      try activate(ports, ["--fdname=smtp:submission"]) + starttlsd(), environment: environment, errors: .file(folder.path + "/log"))
    defer { program.kill() }
    for port in ports { assertEnvironment(try session(try connected(port, program))) }
    XCTAssertTrue(log.contains("socket smtp: listening on 127.0.0.1:\(ports[0])\n"), log)
    XCTAssertTrue(log.contains("socket submission: listening on 127.0.0.1:\(ports[1])\n"), log)
    XCTAssertEqual(ProcessTable.listeningPorts(of: program.process), ports.sorted())
    XCTAssertTrue(eventually { sessionLines.count == 2 }, log)
    program.signal(SIGTERM)
    XCTAssertEqual(program.wait(), .exited(0))
  }

  /// The name of the service on port 465, also its old one, is enough.
  func testTheNameOfASocketSelectsTLSFromTheStart() throws {
    let ports = [try freePort(), try freePort(), try freePort()]
    let program = try SpawnedProgram(
      try activate(ports, ["--fdname=smtp:submissions:smtps"]) + starttlsd(), environment: environment, errors: .file(folder.path + "/log"))
    defer { program.kill() }
    try session(try connected(ports[0], program))
    for port in ports.dropFirst() {
      let client = try connected(port, program)
      try client.sendRaw(try client.beginTLS())
      try client.finishHandshake()
      try client.expect("220 ")
      XCTAssertTrue(try client.ask("NOOP").contains("SSL_PROTOCOL=TLSv1.3"))
      XCTAssertEqual(try client.ask("QUIT"), "221 bye")
      client.close()
    }
    XCTAssertTrue(log.contains("socket smtps: listening on 127.0.0.1:\(ports[2]) with TLS from the start\n"), log)
    program.signal(SIGTERM)
    XCTAssertEqual(program.wait(), .exited(0))
  }

  /// A client of a Unix socket may name its end as it likes. The name is no address for the program, and not in the log.
  func testTheNameOfAClientOfAUnixSocket() throws {
    let path = folder.path + "/socket"
    let words = try activate([], ["-l", path]) + starttlsd()
    let program = try SpawnedProgram(words, environment: environment, errors: .file(folder.path + "/log"))
    defer { program.kill() }
    XCTAssertTrue(eventually { FileManager.default.fileExists(atPath: path) })
    let client = """
      import os, socket, sys
      os.chdir(sys.argv[1])
      client = socket.socket(socket.AF_UNIX)
      client.bind("127.0.0.1")
      client.connect("socket")
      lines = client.makefile("rb")
      print(lines.readline())
      for command in b"EHLO client.example", b"NOOP", b"QUIT":
          client.sendall(command + b"\\r\\n")
          line = lines.readline()
          while line[3:4] == b"-":
              line = lines.readline()
          print(line)
      """
    let output = try run(["/usr/bin/python3", "-c", client, folder.path]).output
    XCTAssertTrue(output.contains("PROTO=UNIX"), output)
    XCTAssertFalse(output.contains("TCPREMOTE"), output)
    XCTAssertTrue(eventually { sessionLines.count == 1 }, log)
    XCTAssertTrue(log.contains(" peer=unix: local="), log)
  }

  /// The flags of the supervisor's socket are not changed.
  func testABlockingSocketStaysBlocking() throws {
    let port = try freePort()
    let program = try SpawnedProgram(
      try activate([port], []) + starttlsd(), environment: environment, errors: .file(folder.path + "/log"))
    defer { program.kill() }
    try session(try connected(port, program))
    let listeners = ProcessTable.listeners(of: program.process)
    XCTAssertEqual(Array(listeners.values), [port])
    for number in listeners.keys {
      let flags = try XCTUnwrap(ProcessTable.statusFlags(of: number, in: program.process))
      XCTAssertEqual(flags & O_NONBLOCK, 0, "descriptor \(number)")
    }
    program.signal(SIGTERM)
    XCTAssertEqual(program.wait(), .exited(0))
  }

  /// The variables of another process are none of ours.
  func testVariablesOfAnotherProcess() throws {
    let variables = environment.merging(["LISTEN_FDS": "2", "LISTEN_PID": "1"]) { $1 }
    let program = try SpawnedProgram(
      try starttlsd(["--listen", "127.0.0.1:0"]), environment: variables, errors: .file(folder.path + "/log"))
    defer { program.kill() }
    XCTAssertTrue(eventually { log.contains("listening on 127.0.0.1:") }, log)
    program.signal(SIGTERM)
    XCTAssertEqual(program.wait(), .exited(0))
  }

  /// What cannot be served is one line and no service.
  func testSocketsThatCannotBeUsed() throws {
    let port = try freePort()
    for (options, own, text) in [
      ([], ["--listen", "127.0.0.1:0"], "remove --listen"), (["--datagram"], [], "is not a listening stream socket"),
      ([], ["--inetd"], "descriptor 3 is a listening socket: remove --inetd"),
      (["-a"], [], "is a client's connection: give --inetd"),
    ] as [([String], [String], String)] {
      unlink(folder.path + "/log")
      let program = try SpawnedProgram(
        try activate([port], options) + starttlsd(own), environment: environment, errors: .file(folder.path + "/log"))
      defer { program.kill() }
      // The supervisor starts the program when the first octet or client arrives.
      let isDatagram = options.contains("--datagram")
      let arrived = eventually {
        if isDatagram { sendDatagram(to: port) } else { _ = try? client(host: "127.0.0.1", port: port) }
        return log.contains("starttlsd: ")
      }
      XCTAssertTrue(arrived && log.contains(text), "\(text): \(log)")
      // `-a` goes on with other clients.
      if !options.contains("-a") { XCTAssertEqual(program.wait(), .exited(100)) }
    }
  }

  private func sendDatagram(to port: UInt16) {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let number = socket(AF_INET, CInt(SOCK_DGRAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
    defer { close(number) }
    _ = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        sendto(number, "x", 1, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
  }
}
