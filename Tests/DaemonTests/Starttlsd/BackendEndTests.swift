// BackendEndTests: which ends of a backend are worth a line in the log.

import Foundation
import Glibc
import XCTest

final class BackendEndTests: StarttlsdTestCase {
  /// One that is replaced at the handoff ends because its input does, however it does so: no line. The one inside TLS that
  /// does the same in the end has a line.
  func testAReplacedBackendIsNoAlarm() throws {
    let script = ShellBackend.script(
      """
      name=first; [ -z "$SSL_PROTOCOL" ] || name=second
      trap 'echo $name >> "$FOLDER/ended"; exit 3' EXIT
      say '220 backend'
      """)
    let daemon = try daemon(backend: .script(script))
    let client = try client(daemon)
    try SessionPhase.negotiatingInsideTLS.enter(client)
    client.close()
    _ = try daemon.session()
    // In whichever order: the second one does not wait for the end of the first.
    let names = { daemon.folder.text("ended").split(separator: "\n").sorted() }
    XCTAssertTrue(eventually { names() == ["first", "second"] }, daemon.folder.text("ended"))
    XCTAssertTrue(eventually { daemon.log.contains("exited with code 3") }, daemon.log)
    XCTAssertEqual(daemon.log.components(separatedBy: "exited with code").count, 2, daemon.log)
  }

  /// One that ignores the end of its input and needs SIGTERM: no line either.
  func testAReplacedBackendThatHasToBeStopped() throws {
    let script = ShellBackend.script("say '220 backend'") + "[ -n \"$SSL_PROTOCOL\" ] || exec sleep 60\n"
    // A second, so that the other one has the time to end by itself after its 221.
    let daemon = try daemon(["--backend-grace", "1"], backend: .script(script))
    let client = try client(daemon)
    try SessionPhase.negotiatingInsideTLS.enter(client)
    XCTAssertEqual(try client.ask("QUIT"), "221 bye")
    client.close()
    _ = try daemon.session()
    daemon.assertIdle()
    XCTAssertFalse(daemon.log.contains("was ended by signal"), daemon.log)
  }

  /// A crash is one, replaced or not.
  func testACrashIsAnAlarm() throws {
    let script = ShellBackend.script("say '220 backend'") + "[ -n \"$SSL_PROTOCOL\" ] || kill -SEGV $$\n"
    let daemon = try daemon(backend: .script(script))
    let client = try client(daemon)
    try SessionPhase.negotiatingInsideTLS.enter(client)
    XCTAssertEqual(try client.ask("QUIT"), "221 bye")
    client.close()
    _ = try daemon.session()
    XCTAssertTrue(eventually { daemon.log.contains("was ended by signal \(SIGSEGV)") }, daemon.log)
  }
}
