// FloodTests: one address that opens and resets a thousand connections does not delay another one.

import Foundation
import Glibc
import XCTest

final class FloodTests: StarttlsdTestCase {
  /// 1,000 silent sockets from 127.0.0.2, held, and 1,000 connections from there that are reset, all with the default limits.
  func testAnHonestClientIsServedWithinASecond() throws {
    let daemon = try daemon()
    let folder = TestFolder()
    var times: [TimeInterval] = []
    func serve() throws {
      let start = Date()
      let client = try client(daemon, from: "127.0.0.3")
      try client.expect("220 ")
      try client.ask("EHLO client.example")
      try client.startTLS()
      XCTAssertEqual(try client.ask("QUIT"), "221 2.0.0 Bye")
      times.append(Date().timeIntervalSince(start))
      client.close()
    }
    // A second, unless the machine is so busy that clients need long without the flood.
    for _ in 0..<5 { try serve() }
    let limit = max(1, 20 * times.sorted()[2])
    times = []
    let flood = try SpawnedProgram(
      ["/usr/bin/python3", "-Ic", program, "\(daemon.port)"], output: .file(folder.path + "/output"))
    defer { flood.kill() }
    XCTAssertTrue(eventually(within: 2 * Deadline.seconds) { folder.text("output").hasPrefix("silent\n") })
    // During the resets, and after them.
    repeat { try serve() } while folder.text("output") == "silent\n" && times.count < 200
    XCTAssertTrue(eventually(within: 2 * Deadline.seconds) { folder.text("output") == "silent\nreset\n" }, folder.text("output"))
    for _ in 0..<5 { try serve() }
    XCTAssertLessThan(times.sorted()[times.count / 2], limit, "\(times)")
    XCTAssertLessThan(times.max() ?? 0, 3 * limit, "\(times)")
    // What the flood may use. The last client's process ends soon after its session.
    XCTAssertTrue(eventually { daemon.backends.count <= 50 }, "\(daemon.backends.count)")
    let refusals = daemon.log.split(separator: "\n").filter { $0.contains("gets 421 ") }
    XCTAssertLessThanOrEqual(refusals.count, 3, daemon.log)
    XCTAssertTrue(daemon.log.contains("127.0.0.2:"), daemon.log)
    XCTAssertTrue(refusals.allSatisfy { $0.contains("gets 421 4.7.0: its address has 50 ") }, "\(refusals)")
    flood.kill()
    daemon.assertIdle()
  }

  private let program = """
    import resource, socket, struct, sys, time
    port = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    def connected():
        client = socket.socket()
        client.bind(('127.0.0.2', 0))
        client.connect(('127.0.0.1', port))
        return client
    silent = [connected() for _ in range(1000)]
    print('silent', flush=True)
    for _ in range(1000):
        client = connected()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        client.close()
    print('reset', flush=True)
    time.sleep(600)
    """

  /// A connection that was reset before it is accepted costs no process.
  func testAResetConnectionStartsNoBackend() throws {
    let daemon = try daemon(backend: .script("echo started >>$FOLDER/started\n" + ShellBackend.script()))
    daemon.program.signal(SIGSTOP)
    for _ in 0..<20 { try client(daemon, from: "127.0.0.2").reset() }
    let last = try client(daemon, from: "127.0.0.3")
    daemon.program.signal(SIGCONT)
    try last.expect("220 ")
    XCTAssertEqual(daemon.folder.text("started"), "started\n")
    XCTAssertEqual(daemon.sessions.filter { $0["end"] == "client lost before the greeting" }.count, 20, daemon.log)
  }
}
