// KeySecrecyTests: the private keys are in a process of their own, and nowhere else.

import CKernel
import Foundation
import Glibc
import Transport
import XCTest

final class KeySecrecyTests: PrivilegeTestCase {
  private func keys(in folder: TestFolder) throws -> [SecretKey] {
    try SecretKey.Kind.allCases.map { try SecretKey($0, in: folder) { try run($0) } }
  }

  private func options(_ keys: some Sequence<SecretKey>) -> [String] {
    keys.flatMap { ["--certificate", $0.certificate.certificate, "--key", $0.certificate.key] }
  }

  /// A handshake that needs this key.
  private func shakeHands(_ port: UInt16, _ algorithm: String, _ version: String) throws -> Result {
    try run(
      ["openssl", "s_client", "-starttls", "smtp", "-sigalgs", algorithm, version, "-connect", "127.0.0.1:\(port)"],
      input: "QUIT\r\n", inputEnds: false)
  }

  private func shakeHandsWithEachKey(_ port: UInt16) throws {
    for version in ["-tls1_3", "-tls1_2"] {
      var cases = [("ECDSA+SHA256", "ECDSA"), ("RSA-PSS+SHA256", "RSA-PSS"), ("RSA-PSS+SHA512", "RSA-PSS"), ("ed25519", "ed25519")]
      if version == "-tls1_2" { cases += [("RSA+SHA256", "RSA"), ("RSA+SHA512", "RSA")] }
      for (algorithm, kind) in cases {
        let result = try shakeHands(port, algorithm, version)
        XCTAssertTrue(result.output.lowercased().contains("peer signature type: \(kind.lowercased())\n"), "\(version) \(algorithm): \(result.output)")
      }
    }
  }

  func testNoKeyIsInTheMemoryOfTheDaemonAfterHandshakesAndAReload() throws {
    let folder = TestFolder()
    let keys = try keys(in: folder)
    let patterns = keys.flatMap(\.patterns)
    for users in [[], ["--user", "daemon", "--backend-user", "nobody"]] {
      let daemon = try daemon(
        users + options(keys.dropFirst()), backend: .script(ShellBackend.script()), certificate: keys[0].certificate, isShared: true)
      _ = try presented(by: daemon)
      daemon.program.signal(SIGHUP)
      XCTAssertTrue(eventually { daemon.log.contains("SIGHUP: the certificates are loaded again") }, daemon.log)
      try shakeHandsWithEachKey(daemon.port)
      XCTAssertEqual(try ProcessMemory.find(patterns, in: daemon.process), [])
      for (name, process) in daemon.helpers {
        let found = try ProcessMemory.find(patterns, in: process)
        XCTAssertEqual(found.isEmpty, name != "starttlsd-key", "\(name): \(found)")
      }
      daemon.stop()
    }
  }

  /// Of a folder, and with names; new ones that are found while the daemon runs as well.
  func testNoKeyOfAFolderOrOfANameIsThereEither() throws {
    let folder = TestFolder()
    let keys = try keys(in: folder)
    func add(_ key: SecretKey, _ name: String) throws {
      let place = "\(folder.path)/live/\(name)"
      try run(["mkdir", "-p", place])
      try run(["cp", key.certificate.key, place + "/privkey.pem"])
      try run(["cp", key.certificate.certificate, place + "/fullchain.pem"])
    }
    try add(keys[0], "one")
    let named = ["--certificate", "named.example=" + keys[1].certificate.certificate, "--key", "named.example=" + keys[1].certificate.key]
    let daemon = try daemon(
      ["--user", "daemon", "--certificate-folder", folder.path + "/live"] + named, backend: .script(ShellBackend.script()), isShared: true)
    try add(keys[2], "two")
    XCTAssertTrue(eventually { daemon.log.contains("have changed: the certificates are loaded again") }, daemon.log)
    for server in ["named.example", "x.example"] { _ = try shown(by: daemon, ["-servername", server], expecting: nil) }
    let patterns = keys.flatMap(\.patterns)
    XCTAssertEqual(try ProcessMemory.find(patterns, in: daemon.process), [])
    let helper = try XCTUnwrap(daemon.helpers["starttlsd-key"])
    for key in keys { XCTAssertFalse(try ProcessMemory.find(key.patterns, in: helper).isEmpty, "\(key.kind)") }
  }

  /// Each worker has a process of the keys; neither the workers nor their supervisor has one.
  func testNoKeyIsInTheMemoryOfASupervisorOrOfItsWorkers() throws {
    let folder = TestFolder()
    let keys = try keys(in: folder)
    let patterns = keys.flatMap(\.patterns)
    let running = try RunningWorkers(2, options(keys.dropFirst()), certificate: keys[0].certificate)
    for algorithm in ["ECDSA+SHA256", "RSA-PSS+SHA256", "ed25519"] { _ = try shakeHands(running.port, algorithm, "-tls1_3") }
    XCTAssertEqual(running.workers.count, 2, running.log)
    XCTAssertEqual(try ProcessMemory.find(patterns, in: running.program.process), [])
    for (number, worker) in running.workers {
      XCTAssertEqual(try ProcessMemory.find(patterns, in: worker), [], "worker \(number)")
      let keeper = try XCTUnwrap(ProcessTable.helpers(of: worker)["starttlsd-key"])
      XCTAssertFalse(try ProcessMemory.find(patterns, in: keeper).isEmpty, "worker \(number)")
    }
    running.program.signal(SIGTERM)
    XCTAssertEqual(running.program.wait(), .exited(0), running.log)
    XCTAssertTrue(eventually { running.processes.isEmpty }, "\(running.processes.map(ProcessTable.commandLine))")
  }

  /// So the test above can fail.
  func testTheKeysAreInTheMemoryOfTheDaemonIfThatIsRequested() throws {
    let folder = TestFolder()
    let keys = try keys(in: folder)
    let daemon = try daemon(
      ["--key-in-process", "--user", "daemon"] + options(keys.dropFirst()), backend: .script(ShellBackend.script()),
      certificate: keys[0].certificate, isShared: true)
    XCTAssertNil(daemon.helpers["starttlsd-key"])
    try shakeHandsWithEachKey(daemon.port)
    for key in keys {
      XCTAssertFalse(try ProcessMemory.find(key.patterns, in: daemon.process).isEmpty, "\(key.kind)")
    }
  }

  /// As some programs require it: certificate and key in one file.
  func testAKeyInTheFileOfItsCertificateStaysOut() throws {
    let folder = TestFolder()
    let key = try SecretKey(.elliptic, in: folder) { try run($0) }
    let certificate = try text(key.certificate.certificate)
    for (name, parts) in [("after", [certificate, try text(key.certificate.key)]), ("before", [try text(key.certificate.key), certificate])] {
      let path = try folder.write(Array((parts.joined(separator: "\n") + "\n").utf8), to: name)
      let daemon = try daemon(
        ["--user", "daemon"], backend: .script(ShellBackend.script()), certificate: Certificate(certificate: path, key: path), isShared: true)
      XCTAssertEqual(try presented(by: daemon), certificate)
      XCTAssertEqual(try ProcessMemory.find(key.patterns, in: daemon.process), [])
    }
  }

  func testAKeyInPlaceOfACertificateIsRefused() throws {
    let folder = TestFolder()
    for key in try keys(in: folder) {
      for path in [key.certificate.key, "\(folder.path)/\(key.kind).der"] {
        let result = try run(
          [Programs.path("starttlsd"), "--allow-root", "--certificate", path, "--key", key.certificate.key, "--", "/bin/cat"],
          expecting: .exited(100))
        XCTAssertTrue(result.errors.contains("\(path): ") && result.errors.contains("expected certificates"), result.errors)
      }
    }
  }

  /// Without users, the certificate of the embedded mode, which it creates itself.
  func testTheCertificateThatItCreatesIsNoException() throws {
    let folder = TestFolder()
    let log = folder.path + "/log"
    let program = try SpawnedProgram(
      [Programs.path("starttlsd"), "--allow-root", "--listen", "127.0.0.1:0", "--state-folder", folder.path + "/state"], errors: .file(log))
    defer { program.kill() }
    XCTAssertTrue(eventually { folder.text("log").contains("listening on") }, folder.text("log"))
    let lines = folder.text("state/key.pem").split(separator: "\n")
    let found = try ProcessMemory.find([Array(lines[1].utf8)], in: program.process)
    XCTAssertEqual(found, [])
    try run(["openssl", "pkey", "-in", folder.path + "/state/key.pem", "-traditional", "-outform", "DER", "-out", folder.path + "/der"])
    let number = Array(folder.contents("der")[11..<35])
    XCTAssertEqual(try ProcessMemory.find([number, number.reversed()], in: program.process), [])
    let helper = try XCTUnwrap(ProcessTable.helpers(of: program.process)["starttlsd-key"])
    XCTAssertFalse(try ProcessMemory.find([number, number.reversed()], in: helper).isEmpty)
    program.signal(SIGTERM)
    XCTAssertEqual(program.wait(), .exited(0))
  }

  /// What the process may do, and who may look into it.
  func testTheProcessOfTheKeysCanDoLittle() throws {
    let daemon = try daemon(["--user", "daemon"], backend: .script(ShellBackend.script()), isShared: true)
    let process = try XCTUnwrap(daemon.helpers["starttlsd-key"])
    let status = ProcessTable.status(of: process)
    XCTAssertEqual(status["Seccomp"], "2", "a filter")
    XCTAssertEqual(status["NoNewPrivs"], "1")
    XCTAssertEqual(status["CapPrm"], "0000000000000000")
    let descriptors = ProcessTable.descriptors(of: process).sorted { $0.key < $1.key }.map { $0.value.hasPrefix("socket:") ? "socket" : $0.value }
    XCTAssertEqual(descriptors, ["/dev/null", "/dev/null", "/dev/null", "socket", "socket"])
  }

  /// Started without root all processes have one user. Still nobody of that user can read the keys' memory.
  func testOthersOfTheSameUserCannotReadTheKeys() throws {
    let humble = ["setpriv", "--reuid=daemon", "--regid=daemon", "--clear-groups"]
    let folder = TestFolder()
    let made = try makeCertificate("server", in: folder)
    chmod(folder.path, 0o755)
    chmod(made.key, 0o644)
    let daemon = try daemon(backend: .script(ShellBackend.script()), certificate: made, under: humble, isShared: true)
    let process = try XCTUnwrap(daemon.helpers["starttlsd-key"])
    let read = try run(humble + ["cat", "/proc/\(process)/environ"], expecting: .exited(1))
    XCTAssertTrue(read.errors.contains("Permission denied"), read.errors)
    XCTAssertEqual(try presented(by: daemon), try text(made.certificate))
  }

  /// Each call ends a process that has only the filter in common with that of the keys.
  func testOtherSystemCallsEndTheProcess() throws {
    let calls: [(String, () -> Void)] = [
      ("open", { _ = open("/dev/null", O_RDONLY) }), ("socket", { _ = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0) }),
      ("fork", { _ = kernel_fork() }), ("kill", { _ = kill(1, 0) }), ("setresuid", { _ = kernel_setresuid(0, 0, 0) }),
      ("mprotect", { _ = mprotect(nil, 0, PROT_READ | PROT_EXEC) }),
      ("mmap of code", { _ = mmap(nil, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) }),
    ]
    for (name, call) in calls + [("nothing", { _ = getpid() })] {
      let process = try ForkedProcess("confined", keepsErrors: false) { _ in
        guard kernel_confine_to_signing() == 1 else { _exit(1) }
        call()
        _exit(0)
      }
      switch process.end(within: 30_000) {
      case .signalled(let signal): XCTAssertTrue(signal == SIGSYS && name != "nothing", "\(name): signal \(signal)")
      case .exited(let code): XCTAssertTrue(code == 0 && name == "nothing", "\(name): exit code \(code)")
      case nil: XCTFail("\(name) does not end")
      }
    }
  }
}
