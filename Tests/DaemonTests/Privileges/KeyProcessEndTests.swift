// KeyProcessEndTests: the process of the private keys is stopped or killed while clients need it.

import Foundation
import Glibc
import XCTest

final class KeyProcessEndTests: PrivilegeTestCase {
  /// The daemon waits once, then refuses STARTTLS until the process answers.
  func testAProcessOfTheKeysThatDoesNotAnswerCostsOneHandshake() throws {
    let folder = TestFolder()
    let path = folder.path + "/status"
    let daemon = try daemon(["--status-socket", path], backend: .script(ShellBackend.script()))
    let process = try XCTUnwrap(daemon.helpers["starttlsd-key"])
    let waiting = try client(daemon)
    try SessionPhase.handshakeAwaited.enter(waiting)
    kill(process, SIGSTOP)
    try waiting.sendRaw(try waiting.beginTLS())
    XCTAssertThrowsError(try waiting.finishHandshake()) { XCTAssertTrue("\($0)".contains("internal error"), "\($0)") }
    XCTAssertTrue(daemon.log.contains("does not answer: STARTTLS is refused with 454 until it does"), daemon.log)
    let failed = try daemon.session()
    XCTAssertEqual(failed.outcome, "handoff: tls failed")
    XCTAssertEqual(failed["alert-name"], "internal_error")

    let refused = try client(daemon)
    try SessionPhase.greeted.enter(refused)
    try refused.ask("EHLO client.example")
    XCTAssertTrue(try refused.ask("STARTTLS").hasPrefix("454 4.7.0 "))
    XCTAssertEqual(try refused.ask("QUIT"), "221 bye")
    refused.close()

    let stuck = try run([Programs.path("starttlsd"), "status", path])
    XCTAssertTrue(stuck.output.contains("private keys: process \(process), which does not answer, signatures 1, "), stuck.output)
    kill(process, SIGCONT)
    XCTAssertTrue(eventually { daemon.log.contains("answers again") }, daemon.log)
    try assertServes(daemon)
    let status = try run([Programs.path("starttlsd"), "status", path])
    // One signature at the start tries the key, and one was refused for lack of time.
    XCTAssertTrue(status.output.contains("private keys: process \(process), signatures 2, 2 in the last minute\n"), status.output)
  }

  /// A request that cannot be sent, for lack of memory: that handshake fails, and no later one.
  func testARequestThatCannotBeSentCostsOneHandshake() throws {
    let daemon = try daemon(backend: .script(ShellBackend.script()))
    let failing = try client(daemon)
    try SessionPhase.handshakeAwaited.enter(failing)
    // The first one sends ServerHello.
    let process = daemon.program.process
    let tracer = try SpawnedProgram(["strace", "-qq", "-o", "/dev/null", "-p", "\(process)", "-e", "inject=sendmsg:error=ENOBUFS:when=2"])
    let isTraced = eventually { ProcessTable.tracer(of: process) == tracer.process || !tracer.isRunning }
    try XCTSkipUnless(isTraced && tracer.isRunning, "strace does not work here")
    try failing.sendRaw(try failing.beginTLS())
    XCTAssertThrowsError(try failing.finishHandshake()) { XCTAssertTrue("\($0)".contains("internal error"), "\($0)") }
    XCTAssertEqual(try daemon.session()["alert-name"], "internal_error")
    tracer.kill()
    XCTAssertTrue(eventually { ProcessTable.tracer(of: process) == 0 })

    try assertServes(daemon)
  }

  /// Sessions go on without it: a handshake fails with an alert, STARTTLS is refused, mail in clear is delivered.
  func testSessionsWithoutTheProcessOfTheKeys() throws {
    let daemon = try daemon(["--grace", "60"])
    let (waiting, clear) = (try client(daemon), try client(daemon))
    try SessionPhase.handshakeAwaited.enter(waiting)
    try SessionPhase.negotiating.enter(clear)
    kill(try XCTUnwrap(daemon.helpers["starttlsd-key"]), SIGKILL)
    try waiting.sendRaw(try waiting.beginTLS())
    XCTAssertThrowsError(try waiting.finishHandshake()) { XCTAssertTrue("\($0)".contains("internal error"), "\($0)") }
    XCTAssertTrue(try clear.ask("STARTTLS").hasPrefix("454 4.7.0 "))
    try clear.send("MAIL FROM:<a@client.example>\r\nRCPT TO:<b@mx.example>\r\nDATA\r\n")
    for beginning in ["250 ", "250 ", "354 "] { try clear.expect(beginning) }
    XCTAssertTrue(try clear.ask("One line.\r\n.").hasPrefix("250 2.0.0 Delivered as "))
    XCTAssertEqual(try clear.ask("QUIT"), "221 2.0.0 Bye")
    for client in [waiting, clear] { client.close() }
    XCTAssertEqual(daemon.program.wait(), .exited(111), daemon.log)
    XCTAssertEqual(daemon.messages.count, 1)
    XCTAssertEqual(daemon.sessions.first { $0["alert"] != nil }?["alert-name"], "internal_error", daemon.log)
  }

  /// Mail that was acknowledged is there, the daemon ends with 111, and no client waits for it.
  func testAKilledProcessOfTheKeysUnderLoadLosesNoMail() throws {
    let daemon = try daemon(["--user", "daemon"], isShared: true)
    let folder = TestFolder()
    let clients = try SpawnedProgram(
      ["/usr/bin/python3", "-Ic", KeyProcessEndTests.clients, "\(daemon.port)"], output: .file(folder.path + "/output"),
      errors: .file(folder.path + "/errors"))
    XCTAssertTrue(eventually { folder.text("output").split(separator: "\n").count >= 40 }, folder.text("errors"))
    kill(try XCTUnwrap(daemon.helpers["starttlsd-key"]), SIGKILL)
    XCTAssertEqual(clients.wait(), .exited(0), folder.text("errors"))
    XCTAssertEqual(daemon.program.wait(), .exited(111), daemon.log)
    XCTAssertTrue(daemon.log.contains("starttlsd-key, which holds the private keys, has ended (signal 9): stopping"), daemon.log)
    let acknowledged = Set(folder.text("output").split(separator: "\n").map(String.init))
    let delivered = Set(daemon.messages.compactMap { $0.text.split(whereSeparator: \.isNewline).last.map(String.init) })
    XCTAssertGreaterThanOrEqual(acknowledged.count, 40)
    XCTAssertTrue(acknowledged.isSubset(of: delivered), "\(acknowledged.subtracting(delivered))")
    XCTAssertTrue(eventually { daemon.leftovers.isEmpty }, "\(daemon.leftovers)")
  }

  /// Delivers mail inside TLS until the daemon accepts no more connections, and prints what was acknowledged.
  private static let clients = """
    import socket, ssl, sys, threading

    port, lock = int(sys.argv[1]), threading.Lock()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    def read(file):
        while (line := file.readline())[3:4] == b'-':
            pass
        return line

    def session(name):
        with socket.create_connection(('127.0.0.1', port), timeout=10) as tcp:
            file = tcp.makefile('rb')
            read(file)
            for command in [b'EHLO client.example', b'STARTTLS']:
                tcp.sendall(command + b'\\r\\n')
                if not (line := read(file)).startswith(b'2'):
                    return
            with context.wrap_socket(tcp) as tls:
                file = tls.makefile('rb')
                for command in [b'EHLO client.example', b'MAIL FROM:<a@client.example>', b'RCPT TO:<b@mx.example>', b'DATA',
                                b'Subject: load\\r\\n\\r\\n' + name + b'\\r\\n.']:
                    tls.sendall(command + b'\\r\\n')
                    line = read(file)
                if line.startswith(b'250'):
                    with lock:
                        print(name.decode(), flush=True)

    def work(number):
        for turn in range(100000):
            try:
                session(b'message-%d-%d' % (number, turn))
            except ConnectionRefusedError:
                return
            except OSError:
                pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    """
}
