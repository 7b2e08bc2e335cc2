// RunningListeners: starttlsd --config with listeners in front of maildir-smtpd, and sockets that a test passes if it likes.

import Foundation
import Glibc
import XCTest

/// A supervisor of the listeners of a file, which a test may change.
final class RunningListeners {
  let folder = TestFolder()
  private(set) var program: SpawnedProgram
  /// The program's own file, which a test may replace.
  let path: String

  /// A listener of the file: its addresses and the name in its greeting.
  struct Listener {
    let name: String
    let keys: String
    let hostname: String

    init(_ name: String, _ keys: String, hostname: String) {
      self.name = name
      self.keys = keys
      self.hostname = hostname
    }
  }

  /// Passes the sockets with these addresses and names: a port of 127.0.0.1, an IPv6 address and a port, or a path. The first word is 1 if
  /// they are non-blocking.
  private static let passing = """
    import os, socket, sys
    addresses, names = sys.argv[2].split(","), sys.argv[3]
    sockets = []
    for address in addresses:
        if address.startswith("/"):
            s = socket.socket(socket.AF_UNIX)
            s.bind(address)
            s.listen()
        elif address.startswith("["):
            host, port = address[1:].split("]:")
            s = socket.create_server((host, int(port)), family=socket.AF_INET6, dualstack_ipv6=True)
        else:
            s = socket.create_server(("127.0.0.1", int(address)))
        s.setblocking(sys.argv[1] == "0")
        sockets.append(s)
    for number, s in enumerate(sockets):
        copy = os.dup2(s.fileno(), 100 + number)
    for number in range(len(sockets)):
        os.dup2(100 + number, 3 + number)
        os.set_inheritable(3 + number, True)
    os.closerange(3 + len(sockets), 200)
    os.environ.update(LISTEN_FDS=str(len(sockets)), LISTEN_FDNAMES=names, LISTEN_PID=str(os.getpid()))
    os.execv(sys.argv[4], sys.argv[4:])
    """

  /// - Parameters:
  ///   - passed: addresses and names of sockets.
  ///   - wrapper: a program that executes its last arguments.
  init(
    _ listeners: [Listener], certificate: Certificate, passed: [(address: String, name: String)] = [], isBlocking: Bool = false,
    under wrapper: [String] = []
  ) throws {
    path = folder.path + "/starttlsd"
    try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: try Programs.path("starttlsd"))
    let words = [path, "--config", folder.path + "/conf"]
    let passing = ["/usr/bin/python3", "-c", RunningListeners.passing, isBlocking ? "0" : "1"]
      + [passed.map(\.address).joined(separator: ","), passed.map(\.name).joined(separator: ":")]
    try RunningListeners.write(listeners, certificate, folder)
    self.certificate = certificate
    program = try SpawnedProgram(
      wrapper + (passed.isEmpty ? [] : passing) + words, environment: ["STARTTLSD_TEST": folder.path], errors: .file(folder.path + "/log"))
  }

  private let certificate: Certificate

  /// Writes the file.
  func write(_ listeners: [Listener]) throws { try RunningListeners.write(listeners, certificate, folder) }

  private static func write(_ listeners: [Listener], _ certificate: Certificate, _ folder: TestFolder) throws {
    var text = """
      allow-root = true
      trusting-backend = true
      grace = 5
      workers = 1
      certificate = ["\(certificate.certificate)"]
      key = ["\(certificate.key)"]
      backend-environment = ["STARTTLSD_TEST"]

      """
    for listener in listeners {
      text += "[listener.\(listener.name)]\n\(listener.keys)\n"
      text += "backend-program = [\"\(try Programs.path("maildir-smtpd"))\", \"--hostname\", \"\(listener.hostname)\", \"\(folder.path)/Maildir\"]\n"
    }
    let path = try folder.write(Array(text.utf8), to: "conf")
    chmod(path, 0o600)
  }

  var log: String { folder.text("log") }

  func waits(for text: String, file: StaticString = #filePath, line: UInt = #line) {
    let hasCome = eventually(within: 2 * Deadline.seconds) { log.contains(text) || !program.isRunning }
    XCTAssertTrue(hasCome && log.contains(text), "'\(text)' is missing in the log: \(log)", file: file, line: line)
  }

  /// The processes that serve a listener, the last one last.
  func workers(of name: String) -> [pid_t] {
    log.split(separator: "\n").compactMap { line in
      line.contains("worker 1 of \(name) started, process ") ? line.split(separator: " ").last.flatMap { pid_t($0) } : nil
    }
  }

  /// It stops, and no process of it is left.
  func stop(file: StaticString = #filePath, line: UInt = #line) {
    program.signal(SIGTERM)
    XCTAssertEqual(program.wait(within: 2 * Deadline.seconds), .exited(0), log, file: file, line: line)
    let mark = "STARTTLSD_TEST=\(folder.path)"
    XCTAssertTrue(eventually { ProcessTable.processes(with: mark).isEmpty }, "left: \(ProcessTable.processes(with: mark))", file: file, line: line)
  }

  deinit {
    program.kill()
    for process in ProcessTable.processes(with: "STARTTLSD_TEST=\(folder.path)") { kill(process, SIGKILL) }
  }
}
