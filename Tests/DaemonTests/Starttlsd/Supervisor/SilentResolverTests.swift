// SilentResolverTests: a change of the listeners needs a name, and the resolver does not answer.
//
// The resolver reads /etc/hosts first: in a name space with an /etc of its own that is a FIFO, until the test replaces it, or not.

import Foundation
import Glibc
import XCTest

final class SilentResolverTests: StarttlsdTestCase {
  private static let unshare = ["/usr/bin/unshare", "--map-root-user", "--mount", "/bin/sh", "-c"]

  /// Listeners that serve with an address in numbers, whose file has a name since then.
  private func listeners(_ port: UInt16, _ etc: TestFolder) throws -> RunningListeners {
    guard try SpawnedProgram(Self.unshare + ["mount --bind \(etc.path) /etc"]).wait() == .exited(0) else {
      throw XCTSkip("this machine has no mount name spaces for users")
    }
    for name in ["passwd", "group", "ld.so.cache"] { try FileManager.default.copyItem(atPath: "/etc/\(name)", toPath: "\(etc.path)/\(name)") }
    _ = try etc.write(Array("hosts: files\n".utf8), to: "nsswitch.conf")
    XCTAssertEqual(mkfifo(etc.path + "/hosts", 0o644), 0)
    chmod(etc.path, 0o755)
    let running = try RunningListeners(
      [listener("127.0.0.1:\(port)")], certificate: try certificate(),
      under: Self.unshare + ["mount --bind \(etc.path) /etc && exec \"$@\"", "sh"])
    running.waits(for: "1 workers serve\n")
    try running.write([listener("mx.test.example:\(port)")])
    return running
  }

  private func listener(_ address: String) -> RunningListeners.Listener {
    RunningListeners.Listener("mx", "listen = [\"\(address)\"]", hostname: "mx.example")
  }

  /// The process that waits for the resolver.
  private func lookup(_ running: RunningListeners) throws -> pid_t {
    var found: pid_t?
    XCTAssertTrue(eventually { found = ProcessTable.helpers(of: running.program.process)["starttlsd-names"]; return found != nil }, running.log)
    return try XCTUnwrap(found)
  }

  /// The supervisor does all else meanwhile: it starts a worker again, and notices the next signals.
  func testTheSupervisorGoesOnWhileTheResolverIsSilent() throws {
    let etc = TestFolder()
    let port = try freePort()
    let running = try listeners(port, etc)
    running.program.signal(SIGHUP)
    _ = try lookup(running)
    running.program.signal(SIGUSR2)
    running.waits(for: "SIGUSR2: another change of the workers has not ended: send it again later\n")
    let first = try XCTUnwrap(running.workers(of: "mx").last)
    kill(first, SIGKILL)
    running.waits(for: "process \(first), was ended by signal 9: it is started again now\n")
    XCTAssertTrue(eventually { running.workers(of: "mx").count == 2 && running.log.components(separatedBy: "listening on ").count == 3 }, running.log)
    let client = try client(host: "127.0.0.1", port: port)
    try client.expect("220 ")
    client.close()
    // The resolver answers, and has no such name: a FIFO is no file of hosts. A SIGHUP that came meanwhile is not lost.
    running.program.signal(SIGHUP)
    var writer: CInt = -1
    XCTAssertTrue(eventually { writer = open(etc.path + "/hosts", O_WRONLY | O_NONBLOCK); return writer >= 0 })
    running.waits(for: "'mx.test.example:\(port)': Name or service not known: the listeners stay as they were\n")
    // On a slow machine the first one had no answer in time.
    XCTAssertTrue(eventually { running.log.components(separatedBy: "the listeners stay as they were\n").count == 3 }, running.log)
    XCTAssertEqual(unlink(etc.path + "/hosts"), 0)
    close(writer)
    _ = try etc.write(Array("127.0.0.1 mx.test.example\n".utf8), to: "hosts")
    running.program.signal(SIGHUP)
    running.waits(for: "SIGHUP: the listeners are as the configuration has them: 1 changed, 1 in all\n")
    running.stop()
  }

  func testAChangeThatWaitsTooLongIsRefused() throws {
    let port = try freePort()
    let etc = TestFolder()
    let running = try listeners(port, etc)
    running.program.signal(SIGHUP)
    let process = try lookup(running)
    running.waits(
      for: "SIGHUP: no answer in 10 s: the resolver or a file system does not answer: give addresses in numbers, or repair it: the listeners stay as they were\n")
    XCTAssertTrue(eventually { kill(process, 0) != 0 }, "it runs on, or is not reaped")
    // The next change is possible, and a lookup whose process ends is one that failed.
    running.program.signal(SIGUSR2)
    // As if its own time had passed, which counts if the supervisor is killed.
    let next = try lookup(running)
    let text = "SIGUSR2: the process that reads the configuration has ended: the workers stay as they were\n"
    // It ignores the signal in its first moment.
    XCTAssertTrue(eventually { kill(next, SIGALRM); return running.log.contains(text) }, running.log)
    // A stop does not wait for it.
    running.program.signal(SIGHUP)
    let last = try lookup(running)
    running.stop()
    XCTAssertTrue(eventually { ProcessTable.status(of: last)["State"]?.contains("Z") ?? true })
    XCTAssertEqual(running.workers(of: "mx").count, 1)
  }
}
