// ListenerChangeTests: listeners of a configuration file: with the sockets of a service manager, and when the file changes.

import Foundation
import Glibc
import XCTest

final class ListenerChangeTests: StarttlsdTestCase {
  private typealias Listener = RunningListeners.Listener

  private func freePorts(_ count: Int) throws -> [UInt16] { try (0..<count).map { _ in try freePort() } }

  private func greeting(_ port: UInt16, isImplicit: Bool = false) throws -> SMTPClient {
    let client = try client(host: "127.0.0.1", port: port)
    if isImplicit {
      try client.sendRaw(try client.beginTLS())
      try client.finishHandshake()
    }
    return client
  }

  private func assertGreets(_ port: UInt16, _ name: String, isImplicit: Bool = false, file: StaticString = #filePath, line: UInt = #line) throws {
    let client = try greeting(port, isImplicit: isImplicit)
    let reply = try client.reply()
    XCTAssertTrue(reply.hasPrefix("220 \(name) "), reply, file: file, line: line)
    client.close()
  }

  // MARK: Sockets of a service manager

  /// By the address, in whatever order; by the name where the address is another one; and again after a take-over and a reload.
  func testPassedSocketsFindTheirListeners() throws {
    let ports = try freePorts(4)
    func listeners(_ hostname: String) -> [Listener] {
      [
        Listener("mx", "listen = [\"127.0.0.1:\(ports[0])\"]", hostname: hostname),
        Listener("submission", "listen = [\"127.0.0.1:\(ports[1])\"]\nlisten-tls = [\"127.0.0.1:\(ports[2])\"]", hostname: "submission.example"),
        Listener("other", "listen = [\"127.0.0.1:0\"]", hostname: "other.example"),
      ]
    }
    let running = try RunningListeners(
      listeners("mx.example"), certificate: try certificate(),
      passed: [("\(ports[3])", "other"), ("\(ports[2])", "x"), ("\(ports[0])", ""), ("\(ports[1])", "mx")])
    func assertAllServe(_ hostname: String) throws {
      try assertGreets(ports[0], hostname)
      try assertGreets(ports[1], "submission.example")
      try assertGreets(ports[2], "submission.example", isImplicit: true)
      try assertGreets(ports[3], "other.example")
      XCTAssertEqual(ProcessTable.listeningPorts(of: running.program.process), ports.sorted())
    }
    running.waits(for: "3 workers serve\n")
    try assertAllServe("mx.example")
    running.program.signal(SIGUSR2)
    running.waits(for: "has taken over: 3 workers serve")
    try assertAllServe("mx.example")
    try running.write(listeners("new.example"))
    running.program.signal(SIGHUP)
    running.waits(for: "SIGHUP: the listeners are as the configuration has them: 1 changed, 3 in all\n")
    try assertAllServe("new.example")
    // No port is opened that the service manager has not passed.
    try running.write(listeners("new.example") + [Listener("more", "listen = [\"127.0.0.1:0\"]", hostname: "more.example")])
    running.program.signal(SIGHUP)
    running.waits(
      for: "SIGHUP: listener more: the service manager passed sockets (LISTEN_FDS), but none for --listen 127.0.0.1:0: add ListenStream=127.0.0.1:0, or remove the address: the listeners stay as they were\n"
    )
    try assertGreets(ports[0], "new.example")
    running.stop()
  }

  /// A socket with a port of the kernel is replaced after shutdown(2); a later reload begins with the new one.
  func testAPassedSocketThatIsBoundToAMappedAddress() throws {
    let port = try XCTUnwrap(try freePorts(1).first)
    let listeners = [Listener("mx", "listen = [\"127.0.0.1:\(port)\"]", hostname: "mx.example"), Listener("other", "listen = [\"127.0.0.1:0\"]", hostname: "other.example")]
    // By its name it would be the other one's.
    let other = try XCTUnwrap(try freePorts(1).first)
    let running = try RunningListeners(
      listeners, certificate: try certificate(), passed: [("[::ffff:127.0.0.1]:\(port)", "other"), ("\(other)", "other")])
    running.waits(for: "2 workers serve\n")
    try assertGreets(port, "mx.example")
    running.stop()
  }

  func testAPassedSocketThatWasReplacedStaysReplacedAfterAReload() throws {
    func listener(_ hostname: String) -> Listener { Listener("other", "listen = [\"127.0.0.1:0\"]", hostname: hostname) }
    let running = try RunningListeners([listener("other.example")], certificate: try certificate(), passed: [("0", "other")])
    running.waits(for: "1 workers serve\n")
    let port = try XCTUnwrap(ProcessTable.listeningPorts(of: running.program.process).first)
    try assertGreets(port, "other.example")
    try shutDown("\(port)", of: running.program.process)
    running.waits(for: "a worker has shut the socket down: it is replaced, and the workers that have it\n")
    XCTAssertTrue(eventually { running.workers(of: "other").count == 2 }, running.log)
    try running.write([listener("new.example")])
    running.program.signal(SIGHUP)
    running.waits(for: "SIGHUP: the listeners are as the configuration has them: 1 changed, 1 in all\n")
    try assertGreets(port, "new.example")
    running.stop()
  }

  func testWhatHasNoListenerOrNoSocketIsRefused() throws {
    let ports = try freePorts(2)
    let mx = Listener("mx", "listen = [\"127.0.0.1:\(ports[0])\"]", hostname: "mx.example")
    let both = Listener("both", "listen = [\"127.0.0.1:0\"]\nlisten-tls = [\"127.0.0.1:0\"]", hostname: "mx.example")
    for (listeners, passed, isBlocking, text) in [
      ([mx], [("\(ports[0])", ""), ("\(ports[1])", "smtp")], false,
        "descriptor 4 (smtp), passed by the service manager for 127.0.0.1:\(ports[1]), is no listener's: write its address into one of mx, or give it that name"),
      ([mx], [("\(ports[0])", ""), ("\(ports[1])", "mx")], false, "is one more than the listener mx has addresses"),
      ([mx, both], [("\(ports[1])", "both")], false, "may be that of listen or of listen-tls in the listener both: write its address"),
      ([mx, Listener("b", "listen = [\"127.0.0.1:\(ports[1])\"]", hostname: "b.example")], [("\(ports[0])", "")], false,
        "listener b: the service manager passed sockets (LISTEN_FDS), but none for --listen 127.0.0.1:\(ports[1]): add ListenStream=127.0.0.1:\(ports[1])"),
      ([mx], [("\(ports[0])", "")], true, "descriptor 3, passed by the service manager, is blocking: set NonBlocking=yes"),
    ] as [([Listener], [(String, String)], Bool, String)] {
      let running = try RunningListeners(
        listeners, certificate: try certificate(), passed: passed.map { (address: $0.0, name: $0.1) }, isBlocking: isBlocking)
      XCTAssertEqual(running.program.wait(), .exited(100), running.log)
      XCTAssertTrue(running.log.contains(text), "\(text): \(running.log)")
      XCTAssertEqual(running.log.split(separator: "\n").count, 1, running.log)
    }
  }

  // MARK: A file that changes

  /// One listener is added, one removed, one changed, one stays.
  private func assertChange(_ signal: CInt, _ text: String, keepsUnchanged: Bool) throws {
    let ports = try freePorts(4)
    let names = ["stays", "changes", "goes", "comes"]
    func listener(_ index: Int, _ hostname: String? = nil) -> Listener {
      Listener(names[index], "listen = [\"127.0.0.1:\(ports[index])\"]", hostname: hostname ?? "\(names[index]).example")
    }
    let running = try RunningListeners([listener(0), listener(1), listener(2)], certificate: try certificate())
    running.waits(for: "3 workers serve\n")
    let before = names.map { running.workers(of: $0).last }
    let clients = try (0..<3).map { try greeting(ports[$0]) }
    for client in clients { try client.expect("220 ") }
    try running.write([listener(0), listener(1, "new.example"), listener(3)])
    running.program.signal(signal)
    running.waits(for: text)
    try assertGreets(ports[0], "stays.example")
    try assertGreets(ports[1], "new.example")
    try assertGreets(ports[3], "comes.example")
    XCTAssertTrue(eventually { (try? client(host: "127.0.0.1", port: ports[2])) == nil }, "a listener that was removed accepts: \(running.log)")
    XCTAssertEqual(running.workers(of: "stays").last == before[0], keepsUnchanged, running.log)
    XCTAssertNotEqual(running.workers(of: "changes").last, before[1], running.log)
    // Sessions go on, also where the listener has gone.
    for client in clients {
      XCTAssertEqual(try client.ask("NOOP"), "250 2.0.0 OK")
      XCTAssertTrue(try client.ask("QUIT").hasPrefix("221"))
      client.close()
    }
    running.waits(for: "worker 1 of goes, process \(try XCTUnwrap(before[2])), exited with code 0\n")
    running.stop()
  }

  func testAReloadTakesTheChangedFile() throws {
    try assertChange(SIGHUP, "SIGHUP: the listeners are as the configuration has them: 2 changed, 3 in all\n", keepsUnchanged: true)
  }

  private func mx(_ hosts: [String], _ port: UInt16, hostname: String = "mx.example") -> Listener {
    Listener("mx", "listen = [" + hosts.map { "\"\($0):\(port)\"" }.joined(separator: ", ") + "]", hostname: hostname)
  }

  /// One socket for `[::]`, or two: the kernel does not allow the other form while the one listens.
  func testAllAddressesMayBeWrittenInTheOtherForm() throws {
    let port = try freePort(hasBothFamilies: true)
    for forms in [[["0.0.0.0", "[::]"], ["[::]"]], [["[::]"], ["0.0.0.0", "[::]"]]] {
      let running = try RunningListeners([mx(forms[0], port)], certificate: try certificate())
      running.waits(for: "1 workers serve\n")
      let sockets = ProcessTable.listeningPorts(of: running.program.process).count
      for (form, hostname) in [(forms[1], "second.example"), (forms[0], "third.example")] {
        try running.write([mx(form, port, hostname: hostname)])
        running.program.signal(SIGHUP)
        // The old worker may serve the first clients.
        for host in ["127.0.0.1", "::1"] {
          let isServed = try eventually {
            let client = try client(host: host, port: port)
            defer { client.close() }
            return try client.reply().hasPrefix("220 \(hostname) ")
          }
          XCTAssertTrue(isServed, "\(form), \(host): \(running.log)")
        }
        XCTAssertEqual(ProcessTable.listeningPorts(of: running.program.process).count, sockets)
      }
      running.stop()
    }
  }

  func testAnAddressThatIsOccupiedByTheOldOneNeedsARestart() throws {
    let port = try freePort()
    let running = try RunningListeners([mx(["0.0.0.0"], port)], certificate: try certificate())
    running.waits(for: "1 workers serve\n")
    let failure = "cannot listen on 127.0.0.1:\(port): bind: Address already in use; "
    try running.write([mx(["127.0.0.1"], port)])
    running.program.signal(SIGHUP)
    running.waits(
      for: "SIGHUP: listener mx: \(failure)starttlsd itself still listens on 0.0.0.0:\(port), and only a start can replace that: "
        + "restart starttlsd, or write 0.0.0.0:\(port) again: the listeners stay as they were\n")
    // No restart helps where both are wanted.
    try running.write([mx(["0.0.0.0"], port), Listener("other", "listen = [\"127.0.0.1:\(port)\"]", hostname: "other.example")])
    running.program.signal(SIGHUP)
    running.waits(for: "SIGHUP: listener other: \(failure)choose another with --listen: the listeners stay as they were\n")
    try assertGreets(port, "mx.example")
    running.stop()
  }

  /// The files of Unix sockets go with their listeners, except one that is somebody else's meanwhile.
  func testATakeOverRemovesTheSocketsOfRemovedListeners() throws {
    let folder = TestFolder()
    let ports = try freePorts(3)
    func listener(_ index: Int) -> Listener {
      let name = ["stays", "goes", "moved"][index]
      let sockets = "status-socket = \"\(folder.path)/\(name).status\"\nmetrics = \"unix:\(folder.path)/\(name).metrics\""
      return Listener(name, "listen = [\"127.0.0.1:\(ports[index])\", \"unix:\(folder.path)/\(name).smtp\"]\n\(sockets)", hostname: "\(name).example")
    }
    let all = ["goes", "moved", "stays"].flatMap { name in ["metrics", "smtp", "status"].map { "\(name).\($0)" } }
    let running = try RunningListeners([listener(0), listener(1), listener(2)], certificate: try certificate())
    running.waits(for: "3 workers serve\n")
    XCTAssertEqual(folder.names(in: "").sorted(), all)
    // The old one stays in use until then, so the new one has another number.
    let other = folder.path + "/other"
    let bound = try SpawnedProgram(["/usr/bin/python3", "-c", "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])", other])
    XCTAssertEqual(bound.wait(), .exited(0))
    XCTAssertEqual(rename(other, folder.path + "/moved.status"), 0)
    try running.write([listener(0)])
    running.program.signal(SIGUSR2)
    running.waits(for: "has taken over: 1 workers serve, 3 old ones end with their sessions\n")
    XCTAssertTrue(eventually { folder.names(in: "").sorted() == ["moved.status", "stays.metrics", "stays.smtp", "stays.status"] }, "\(folder.names(in: ""))")
    try assertGreets(ports[0], "stays.example")
    XCTAssertTrue(try run([Programs.path("starttlsd"), "status", folder.path + "/stays.status"]).output.contains("sessions"))
    running.stop()
    XCTAssertEqual(folder.names(in: ""), ["moved.status"])
  }

  func testATakeOverTakesTheChangedFile() throws {
    try assertChange(SIGUSR2, "has taken over: 3 workers serve, 3 old ones end with their sessions\n", keepsUnchanged: false)
  }
}
