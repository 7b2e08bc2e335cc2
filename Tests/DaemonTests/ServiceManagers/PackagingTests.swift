// PackagingTests: the units, the service folder and the hooks of Packaging, used as Docs/Operating.md says.

import Foundation
import Glibc
import XCTest

final class PackagingTests: ServiceManagerTestCase {
  private let units = Repository.folder + "/Packaging/systemd"

  /// systemd's own check, with the built program in place of the installed one.
  func testTheUnitsAreValidAndHardened() throws {
    for name in ["starttlsd.service", "starttlsd.socket"] {
      let text = try Repository.text("Packaging/systemd/\(name)").replacingOccurrences(of: "/usr/sbin/starttlsd", with: "/bin/true")
      try folder.write(Array(text.utf8), to: name)
    }
    let verified = try run(
      ["systemd-analyze", "verify", "--man=no", folder.path + "/starttlsd.service", folder.path + "/starttlsd.socket"])
    XCTAssertEqual(verified.output + verified.errors, "")
    // The threshold is in tenths.
    try run(["systemd-analyze", "security", "--offline=yes", "--threshold=20", folder.path + "/starttlsd.service"])
  }

  /// A systemd of the test's own starts the socket and the service: ready, reload, stop. Only what needs a system manager
  /// is removed from the unit.
  func testTheServiceUnderSystemd() throws {
    let port = try freePort()
    // As many workers as without the option.
    let words = try starttlsd(["--status-socket", folder.path + "/status", "--workers", "auto"])
    let own = ["NoNewPrivileges=", "Type=", "WatchdogSec=", "KillMode=", "NonBlocking=", "ExecReload=", "Description=", "UMask="]
    let lines = try Repository.text("Packaging/systemd/starttlsd.service").split(separator: "\n", omittingEmptySubsequences: false)
    let kept = lines.filter { line in line.hasPrefix("[") || own.contains { line.hasPrefix($0) } }.joined(separator: "\n")
    let service = kept.replacingOccurrences(
      of: "[Service]",
      with: """
        Requires=starttlsd.socket
        DefaultDependencies=no
        [Service]
        Environment=\(mark) FOLDER=\(folder.path)
        StandardError=append:\(folder.path)/log
        ExecStart=\(words.joined(separator: " "))
        """)
    let socket = """
      [Unit]
      DefaultDependencies=no
      [Socket]
      ListenStream=127.0.0.1:\(port)
      FileDescriptorName=smtp
      """
    try folder.write(Array(service.components(separatedBy: "[Install]")[0].utf8), to: "starttlsd.service")
    try folder.write(Array(socket.utf8), to: "starttlsd.socket")
    try script(manager, "manager")
    let unshare = ["/usr/bin/unshare", "--mount", "--cgroup", "--pid", "--fork", "--kill-child", "--mount-proc"]
    guard try SpawnedProgram(unshare + ["/bin/true"]).wait() == .exited(0) else {
      // A container may not allow it. SocketActivationTests and ServiceNotificationTests, which need no name spaces, remain.
      return print("testTheServiceUnderSystemd: no name spaces for processes and control groups here: not run")
    }
    let program = try SpawnedProgram(
      unshare + [folder.path + "/manager"], environment: environment, errors: .file(folder.path + "/supervisor.log"))
    defer { program.kill() }
    // `systemctl start` returns when the service has reported READY.
    guard eventually({ folder.text("active") != "" || !program.isRunning }) else { throw Failure("no start: \(log)") }
    // On several processors the unit has several workers.
    XCTAssertNotNil(
      folder.text("active").wholeMatch(of: /Listening on 1 sockets( with [0-9]+ workers)?\nactive\n/), folder.text("supervisor.log") + log)
    assertEnvironment(try session(try connected(port, program)))
    XCTAssertTrue(log.contains("socket smtp: listening on 127.0.0.1:\(port)\n"), log)
    XCTAssertTrue(
      try run([Programs.path("starttlsd"), "status", folder.path + "/status"]).output.contains("listening on: 127.0.0.1:\(port)\n"))
    try folder.write([], to: "reload")
    XCTAssertTrue(eventually { folder.text("reloaded") != "" }, log)
    XCTAssertEqual(folder.text("reloaded"), "active\n")
    XCTAssertTrue(eventually { log.contains("SIGHUP: ") }, log)
    try folder.write([], to: "stop")
    XCTAssertEqual(program.wait(), .exited(0), folder.text("supervisor.log"))
    XCTAssertEqual(folder.text("stopped"), "success\ninactive\n")
    XCTAssertTrue(log.contains("starttlsd: stopped\n"), log)
  }

  /// The first process of a name space: a user manager, and its operator, who acts when the test writes a file.
  private var manager: String {
    """
    folder='\(folder.path)'
    mount -t tmpfs tmpfs /run
    mkdir -p /run/systemd/system /run/own/systemd/user
    export XDG_RUNTIME_DIR=/run/own HOME=/run/own
    cp $folder/starttlsd.service $folder/starttlsd.socket /run/own/systemd/user
    /lib/systemd/systemd --user --unit=basic.target >/dev/null 2>&1 &
    until [ -S /run/own/systemd/private ]; do sleep 0.05; done
    systemctl --user start starttlsd.socket starttlsd.service
    systemctl --user show starttlsd.service -P ActiveState -P StatusText >$folder/active.new
    mv $folder/active.new $folder/active
    until [ -e $folder/reload ]; do sleep 0.05; done
    systemctl --user reload starttlsd.service
    # The reload may go on: the command that sends the signal has ended.
    until systemctl --user show starttlsd.service -P ActiveState >$folder/reloaded.new && ! grep -q reloading $folder/reloaded.new
    do sleep 0.05; done
    mv $folder/reloaded.new $folder/reloaded
    until [ -e $folder/stop ]; do sleep 0.05; done
    systemctl --user stop starttlsd.service
    systemctl --user show starttlsd.service -P ActiveState -P Result >$folder/stopped
    """
  }

  /// The service folder as it is, with the paths of the test.
  func testTheServiceFolderUnderS6() throws {
    let port = try freePort()
    let made = try certificate()
    let service = folder.path + "/starttlsd"
    try FileManager.default.copyItem(atPath: Repository.folder + "/Packaging/s6/starttlsd", toPath: service)
    var text = try String(contentsOfFile: service + "/run", encoding: .utf8)
    for (old, new) in [
      ("exec 2>&1", "exec 2>>\(folder.path)/log"), ("exec starttlsd --user starttlsd", "exec \(try Programs.path("starttlsd")) --allow-root"),
      (":25", "127.0.0.1:\(port)"), ("/etc/starttlsd/chain.pem", made.certificate), ("/etc/starttlsd/key.pem", made.key),
      ("/run/starttlsd.status", folder.path + "/status"), ("maildir-smtpd", try Programs.path("maildir-smtpd")),
      ("/var/lib/starttlsd/Maildir", folder.path + "/Maildir"),
    ] {
      XCTAssertTrue(text.contains(old), old)
      text = text.replacingOccurrences(of: old, with: new)
    }
    try text.write(toFile: service + "/run", atomically: false, encoding: .utf8)
    let supervisor = try SpawnedProgram(["s6-supervise", service], environment: environment)
    defer { supervisor.kill() }
    XCTAssertTrue(eventually { (try? run(["s6-svok", service], expecting: nil).end) == .exited(0) }, log)
    try run(["s6-svwait", "-U", "-t", "10000", service])
    let client = try client(host: "127.0.0.1", port: port)
    try SessionPhase.negotiatingInsideTLS.enter(client)
    XCTAssertEqual(try client.ask("QUIT"), "221 2.0.0 Bye")
    client.close()
    // It is counted when the session ends, which is after the reply.
    XCTAssertTrue(try eventually { try run([Programs.path("starttlsd"), "status", folder.path + "/status"]).output.contains(" handoff 1,") }, log)
    try run(["s6-svc", "-wD", "-T", "10000", "-dx", service])
    XCTAssertEqual(supervisor.wait(), .exited(0))
  }

  /// Both hooks: the pair that they install is served after the reload, and the key is for its owner alone.
  func testTheRenewalHooks() throws {
    let first = try makeCertificate("first", in: folder)
    let target = folder.path + "/etc"
    try FileManager.default.createDirectory(atPath: target, withIntermediateDirectories: true)
    let served = Certificate(certificate: target + "/chain.pem", key: target + "/key.pem")
    try FileManager.default.copyItem(atPath: first.certificate, toPath: served.certificate)
    try FileManager.default.copyItem(atPath: first.key, toPath: served.key)
    let daemon = try daemon(certificate: served)
    let user = getpwuid(getuid()).map { String(cString: $0.pointee.pw_name) } ?? "root"
    for (number, hook) in ["certbot-deploy-hook", "dehydrated-hook"].enumerated() {
      let lineage = folder.path + "/\(hook)"
      try FileManager.default.createDirectory(atPath: lineage, withIntermediateDirectories: true)
      let renewed = try makeCertificate("renewed\(number)", in: folder)
      let (chain, key) = (lineage + "/fullchain.pem", lineage + "/privkey.pem")
      try FileManager.default.copyItem(atPath: renewed.certificate, toPath: chain)
      try FileManager.default.copyItem(atPath: renewed.key, toPath: key)
      let arguments =
        number == 0 ? [] : ["deploy_cert", "mx.example", key, lineage + "/cert.pem", chain, lineage + "/chain.pem", "1"]
      var environment = ["RENEWED_LINEAGE": lineage, "FOLDER": target, "OWNER": user, "RELOAD": "kill -HUP \(daemon.process)"]
      let command = [Repository.folder + "/Packaging/renewal/" + hook] + arguments
      // Without a name it says so; the certificate of another name is not copied.
      XCTAssertTrue(try run(command, environment: environment, expecting: .exited(1)).errors.contains("set name="))
      environment["CERTIFICATE_NAME"] = "www.example"
      let before = try String(contentsOfFile: served.certificate, encoding: .utf8)
      try run(command, environment: environment)
      XCTAssertEqual(try String(contentsOfFile: served.certificate, encoding: .utf8), before)
      environment["CERTIFICATE_NAME"] = number == 0 ? hook : "mx.example"
      try run(command, environment: environment)
      XCTAssertTrue(eventually { daemon.log.components(separatedBy: "SIGHUP: the certificates are loaded").count == number + 2 }, daemon.log)
      XCTAssertEqual(try String(contentsOfFile: served.certificate, encoding: .utf8), try String(contentsOfFile: renewed.certificate, encoding: .utf8))
      var mode = stat()
      XCTAssertEqual(stat(served.key, &mode), 0)
      XCTAssertEqual(mode.st_mode & 0o777, 0o600)
    }
    // dehydrated calls its hook for other events too.
    try run([Repository.folder + "/Packaging/renewal/dehydrated-hook", "startup_hook"])
    XCTAssertFalse(daemon.log.contains("others than its owner"), daemon.log)
  }
}
