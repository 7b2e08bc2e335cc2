// ConfigurationFileTests: starttlsd --config, starttlsd config, starttlsd check --config.

import Foundation
import Glibc
import PropertyKit
import XCTest

final class ConfigurationFileTests: StarttlsdTestCase {
  private let folder = TestFolder()

  /// Writes a file that only its owner can write to.
  private func file(_ text: String, mode: UInt32 = 0o644) throws -> String {
    let path = try folder.write(Array(text.utf8), to: "starttlsd.conf")
    XCTAssertEqual(chmod(path, mode), 0)
    return path
  }

  /// What `starttlsd config` finds wrong, without the name of the file.
  private func faults(_ text: String) throws -> [String] {
    let path = try file(text)
    let result = try run([Programs.path("starttlsd"), "config", path], expecting: .exited(100))
    XCTAssertEqual(result.output, "")
    return result.errors.split(separator: "\n").map { $0.replacingOccurrences(of: "starttlsd: \(path), ", with: "") }
  }

  /// Settings of a listener without a fault.
  private var good: String {
    get throws {
      let made = try certificate()
      return """
        allow-root = true
        trusting-backend = true
        certificate = ["\(made.certificate)"]
        key = ["\(made.key)"]
        backend-program = ["\(try Programs.path("maildir-smtpd"))", "--hostname", "mx.example", "\(folder.path)/Maildir"]
        [listener.mx]
        listen = ["127.0.0.1:0"]

        """
    }
  }

  /// All of them at once, in the order of the file.
  func testKeysThatCannotBeUsedHaveTheirLines() throws {
    let lines: [(String, String)] = [
      ("polcy = \"required\"", "polcy is not a key: did you mean policy?"),
      ("zebra = 1", "zebra is not a key: starttlsd config --defaults prints all keys"),
      ("policy = 25", "policy: a string is expected, not an integer"),
      ("grace = \"5\"", "grace: an integer is expected, not a string"),
      ("idle-timeout = 1.5", "idle-timeout: an integer is expected, not a number with a fraction"),
      ("tolerate-bare-lf = 1", "tolerate-bare-lf: true or false is expected, not an integer"),
      ("exempt = \"10.0.0.0/8\"", "exempt: an array of strings is expected, not a string"),
      ("proxy-from = [\"10.0.0.0/8\", true]", "proxy-from: an array of strings is expected, not true or false in it"),
      ("workers = \"many\"", "workers: an integer or \"auto\" is expected, not a string"),
      ("syslog = \"mail\\u0000\"", "syslog: a text with a NUL cannot be an argument"),
      ("listen = []", "listen: each listener has its own addresses: move this line into a table [listener.NAME]"),
      ("[server]", "[server]: the only tables are those of listeners, [listener.NAME]"),
      ("[listener.\"a b\"]", "[listener.a b]: the name of a listener has 1 to 64 letters, digits, '-' and '_'"),
    ]
    let options = ["config", "inetd", "implicit-tls", "help", "version"].map { name in
      ("\(name) = true", "\(name): this option has no meaning in a file: give it on the command line, or remove it")
    }
    let inTable = [("[listener.mx]", "there is no address: add listen = [\"address:port\"], or listen-tls"), ("workers = 0", "workers: 0 is not possible: give a number from 1 to 256"),
      ("listn = []", "listn is not a key: did you mean listen?")]
    let all = options + lines + inTable
    let expected = all.enumerated().map { "line \($0.offset + 1)\($0.offset < all.count - 3 ? "" : ", listener mx"): \($0.element.1)" }
    XCTAssertEqual(try faults(all.map { $0.0 + "\n" }.joined()), expected)
  }

  func testOtherFaultsHaveTheirLines() throws {
    let good = try good
    let own = good.split(separator: "\n").count
    for (text, fault) in [
      ("grace = 1\ngrace = 2\n" + good, "line 2, column 1: the key grace is there already, in line 1"),
      ("grace = \n" + good, "line 1, column 9: expected a value, not the end of the line"),
      ("grace = 1\n", "line 1: there is no listener: add a table [listener.NAME] with its addresses"),
      (
        good + "policy = \"strict\"\n",
        "line \(own + 1), listener mx: The value 'strict' is invalid for '--policy <policy>'. Please provide one of 'opportunistic' and 'required'."
      ),
      (good + "grace = -1\n", "line \(own + 1), listener mx: --grace -1: give a number of seconds from 0 to 1000000"),
      (good + "backend-program = []\n", "line 6, listener mx: there is a certificate but no server: name a program that speaks SMTP after -- (in a file: backend-program)"),
      (good.replacingOccurrences(of: "listen = [\"127.0.0.1:0\"]", with: "listen = \"127.0.0.1:0\""), "line 7, listener mx: listen: an array of strings is expected, not a string"),
      (
        good + "[listener.b]\nlisten-tls = [\"127.0.0.1:4650\"]\n[listener.c]\nlisten = [\"127.0.0.1:4650\"]\n",
        "line \(own + 3), listener c: 127.0.0.1:4650 is that of the listener b already: choose another"
      ),
      (
        good.replacingOccurrences(of: "[listener.mx]", with: "workers = 1\nstatus-socket = \"/run/s\"\n[listener.mx]") + "[listener.b]\nlisten = [\"127.0.0.1:0\"]\n",
        "line \(own + 3), listener b: the status socket /run/s is that of the listener mx already: choose another"
      ),
    ] { XCTAssertEqual(try faults(text), [fault], text) }
  }

  /// With several workers each has a status socket of its own, whose path follows from that of the key.
  func testSocketsThatFollowFromTheKeysOfOthersAreRefused() throws {
    let second = "[listener.b]\nlisten = [\"127.0.0.1:0\"]\n"
    let own = try good.split(separator: "\n").count
    let first = try good + "workers = 2\nstatus-socket = \"/run/s\"\n"
    for (keys, fault) in [
      ("workers = 1\nstatus-socket = \"/run/s.2\"\n", "line \(own + 6), listener b: the status socket /run/s.2 is that of the listener mx already: choose another"),
      ("workers = 3\nstatus-socket = \"/run/s\"\n", "line \(own + 6), listener b: the status socket /run/s.1 is that of the listener mx already: choose another"),
      ("metrics = \"unix:/run/s.1\"\n", "line \(own + 5), listener b: the metrics socket unix:/run/s.1 is that of the listener mx already: choose another"),
      (
        "workers = 2\nstatus-socket = \"/run/t\"\nmetrics = \"unix:/run/t.2\"\n",
        "line \(own + 7), listener b: the metrics socket unix:/run/t.2 is named twice: choose another"
      ),
    ] { XCTAssertEqual(try faults(first + second + keys), [fault], keys) }
    XCTAssertEqual(try run([Programs.path("starttlsd"), "config", file(first + second + "workers = 1\nstatus-socket = \"/run/s\"\n")]).errors, "")
  }

  func testAFileThatOthersCanChangeIsRefused() throws {
    for (path, text) in [
      (try file(good, mode: 0o664), "can be written by others than its owner"), (folder.path, "is not a regular file"),
      (folder.path + "/missing", "No such file or directory"),
    ] {
      for words in [["config", path], ["--config", path], ["check", "--config", path]] {
        let result = try run([Programs.path("starttlsd")] + words, expecting: .exited(100))
        XCTAssertEqual(result.errors.split(separator: "\n").count, 1, result.errors)
        XCTAssertTrue(result.errors.contains(path) && result.errors.contains(text), result.errors)
      }
    }
    let path = try file(String(repeating: "#", count: 1 << 20) + "\n")
    XCTAssertTrue(try run([Programs.path("starttlsd"), "config", path], expecting: .exited(100)).errors.contains("has more than 1048576 octets"))
  }

  func testOtherOptionsBelongIntoTheFile() throws {
    let path = try file(good)
    for (options, text) in [
      (["--policy", "required"], "Unknown option '--policy'"), (["--inetd"], "--inetd"), (["--", "/bin/cat"], "Unexpected argument"),
    ] {
      let result = try run([Programs.path("starttlsd"), "--config", path] + options, expecting: .exited(100))
      XCTAssertTrue(result.errors.contains(text), result.errors)
    }
  }

  /// Every option is a key, apart from those of how starttlsd is started; and the file is accepted.
  func testTheDefaultsAreAFileWithAllKeys() throws {
    let text = try run([Programs.path("starttlsd"), "config", "--defaults"]).output
    let help = try run([Programs.path("starttlsd"), "--help"]).output
    let lines = text.split(separator: "\n")
    let keys = lines.compactMap { line in line.firstMatch(of: /^(?:# )?([a-z][a-z0-9-]*) = (.*)$/).map { (String($0.1), String($0.2), $0.0.hasPrefix("#")) } }
    let options = Set(help.split(separator: "\n").compactMap { $0.firstMatch(of: /^  (?:-[a-z], )?--([a-z0-9-]+)/).map { String($0.1) } })
    XCTAssertGreaterThan(options.count, 50)
    XCTAssertEqual(
      options.subtracting(keys.map(\.0)), ["config", "inetd", "implicit-tls", "notification-fd", "help", "version"])
    XCTAssertEqual(Set(keys.map(\.0)).subtracting(options).subtracting(["workers"]), ["backend-program"])
    // Each has its meaning in the line before, and the default of the help.
    let flat = help.split { $0.isWhitespace }.joined(separator: " ")
    for (index, line) in lines.enumerated() where line.contains(" = ") && !line.hasPrefix("# All") && !line.hasPrefix("# A key") {
      if line.wholeMatch(of: /(?:# )?[a-z][a-z0-9-]* = .*/) != nil { XCTAssertTrue(lines[index - 1].hasPrefix("# "), String(line)) }
    }
    for (key, value, isComment) in keys where !isComment && value != "false" && key != "listen" && key != "workers" {
      let plain = value.replacingOccurrences(of: "\"", with: "")
      XCTAssertTrue(
        flat.contains(try Regex("--\(key) <[^>]*> [^<]*?(\\(default: \(plain)\\)|\\[\(plain)\\]|default: \(plain))")), "\(key) = \(value)")
    }
    XCTAssertEqual(keys.first { $0.0 == "greeting-timeout" }?.1, "60")
    // Root must name a user, and the state folder is that of a user who has none here.
    let own = text.replacingOccurrences(of: "allow-root = false", with: "allow-root = true")
      .replacingOccurrences(of: "# state-folder = \"folder\"", with: "state-folder = \"\(folder.path)/state\"")
    let effective = try run([Programs.path("starttlsd"), "config", file(own)]).output
    let printed = effective.split(separator: "\n").filter { $0.contains(" = ") }.map { $0.replacingOccurrences(of: " # default", with: "") }
    let expected = own.split(separator: "\n").filter { $0.wholeMatch(of: /[a-z][a-z0-9-]* = .*/) != nil }.map { String($0) }
    XCTAssertEqual(printed.sorted(), expected.sorted())
    // The self-signed certificate is made at the start.
    XCTAssertFalse(folder.names(in: ".").contains("state"))
  }

  /// Whoever can write to a folder on the way to a file, also over a link, can put another file there.
  func testAFolderThatOthersCanChangeIsRefused() throws {
    let path = try file(good)
    let own = folder.path + "/own"
    let shared = folder.path + "/shared"
    for name in [own, shared] { XCTAssertEqual(mkdir(name, 0o755), 0) }
    XCTAssertEqual(rename(path, own + "/conf"), 0)
    XCTAssertEqual(symlink("../own/conf", shared + "/link"), 0)
    XCTAssertEqual(symlink("./shared/../shared/link", folder.path + "/other"), 0)
    func errors(_ path: String, _ code: CInt = 100) throws -> String {
      try run([Programs.path("starttlsd"), "config", path], expecting: .exited(code)).errors
    }
    let reason = "whoever can write to it decides what starttlsd starts"
    for mode: UInt32 in [0o775, 0o757] {
      XCTAssertEqual(try errors(folder.path + "/other", 0), "")
      chmod(shared, mode)
      for path in [shared + "/link", folder.path + "/other"] {
        XCTAssertEqual(
          try errors(path), "starttlsd: \(path): the folder \(shared) can be written by others than its owner, and \(reason): use chmod go-w\n")
      }
      XCTAssertEqual(try errors(own + "/conf", 0), "", "the link is not on this way")
      chmod(shared, 0o1777)
    }
    // Only root can give files away.
    guard geteuid() == 0 else { return }
    XCTAssertEqual(lchown(shared + "/link", 1, 1), 0)
    XCTAssertEqual(try errors(folder.path + "/other"), "starttlsd: \(folder.path)/other: the link \(shared)/link belongs to the user with the number 1, and \(reason): use chown\n")
    XCTAssertEqual(chown(own, 1, 1), 0)
    XCTAssertEqual(try errors(own + "/conf"), "starttlsd: \(own)/conf: the folder \(own) belongs to the user with the number 1, and \(reason): use chown\n")
  }

  func testWhatCountsForAListenerIsPrinted() throws {
    let text = try "policy = \"required\"\n" + good + "policy = \"opportunistic\"\n[listener.other]\nlisten-tls = [\"127.0.0.1:0\"]\nworkers = \"auto\"\n"
    let output = try run([Programs.path("starttlsd"), "config", file(text)]).output
    let tables = output.components(separatedBy: "[listener.other]\n")
    guard tables.count == 2 else { return XCTFail(output) }
    XCTAssertTrue(tables[0].hasPrefix("[listener.mx]\n"), output)
    XCTAssertTrue(tables[0].contains("\npolicy = \"opportunistic\"\n") && tables[0].contains("\ngrace = 30 # default\n"), output)
    XCTAssertTrue(tables[1].contains("\npolicy = \"required\"\n") && tables[1].contains("workers = \"auto\"\n"), output)
    // The output is a file with the same meaning.
    XCTAssertEqual(try run([Programs.path("starttlsd"), "config", file(output)]).output, output.replacingOccurrences(of: " # default", with: ""))
  }

  /// Packaging/starttlsd.conf with the files and the user of this test.
  private func example() throws -> String {
    let made = try certificate()
    var text = try Repository.text("Packaging/starttlsd.conf")
    for (old, new) in [
      ("user = \"starttlsd\"", "allow-root = true"), ("/etc/starttlsd/chain.pem", made.certificate), ("/etc/starttlsd/key.pem", made.key),
      ("\"maildir-smtpd\"", "\"\(try Programs.path("maildir-smtpd"))\""), ("/var/lib/starttlsd/Maildir", folder.path + "/Maildir"),
    ] {
      XCTAssertTrue(text.contains(old), old)
      text = text.replacingOccurrences(of: old, with: new)
    }
    return text
  }

  func testTheExampleIsAccepted() throws {
    let output = try run([Programs.path("starttlsd"), "check", "--config", file(example())]).output
    for line in ["listener mx:\nlisten on 0.0.0.0:25\n", "listener submission:\nlisten on 0.0.0.0:587\n", "listen on [::]:465 with TLS from the start\n"] {
      XCTAssertTrue(output.contains(line), output)
    }
    XCTAssertFalse(output.contains("RFC 3207"), output)
  }

  /// It names the addresses of IPv4 and of IPv6 for each port, as the socket unit does. One process binds them as well.
  func testTheExampleServesBothFamilies() throws {
    var text = "workers = 1\n" + (try example()).replacingOccurrences(of: "greeting-wait = 2\n", with: "")
    var ports: [UInt16] = []
    for port in [25, 587, 465] {
      ports.append(try freePort(hasBothFamilies: true))
      text = text.replacingOccurrences(of: ":\(port)\"", with: ":\(ports.last!)\"")
    }
    let path = try file(text)
    try serves(["--config", path], until: "2 workers serve", ports.dropLast())
    let made = try certificate()
    try serves(
      ["--allow-root", "--workers", "1", "--certificate", made.certificate, "--key", made.key, "--trusting-backend"]
        + ["[::]", "0.0.0.0"].flatMap { ["--listen", "\($0):\(ports[0])"] } + ["--", Programs.path("maildir-smtpd"), folder.path + "/Maildir"],
      until: "listening on 0.0.0.0", ports.prefix(1))
  }

  /// Clients of both families get a greeting at these ports.
  private func serves(_ options: [String], until text: String, _ ports: ArraySlice<UInt16>) throws {
    let log = "log-\(ports.count)"
    let program = try SpawnedProgram([Programs.path("starttlsd")] + options, errors: .file(folder.path + "/" + log))
    defer { program.kill() }
    XCTAssertTrue(eventually { folder.text(log).contains(text) || !program.isRunning })
    for port in ports {
      for host in ["127.0.0.1", "::1"] {
        let client = try client(host: host, port: port)
        XCTAssertEqual(try client.reply().prefix(4), "220 ", folder.text(log))
        client.close()
      }
    }
    program.signal(SIGTERM)
    XCTAssertEqual(program.wait(), .exited(0), folder.text(log))
  }

  func testCheckChecksEachListener() throws {
    let text = try good + "policy = \"required\"\n[listener.other]\nlisten-tls = [\"127.0.0.1:0\"]\n"
    let output = try run([Programs.path("starttlsd"), "check", "--config", file(text)]).output
    XCTAssertTrue(output.contains("listener mx:\nlisten on 127.0.0.1:0\n"), output)
    XCTAssertTrue(output.contains("listener other:\nlisten on 127.0.0.1:0 with TLS from the start\n"), output)
    XCTAssertTrue(output.hasSuffix("no fault found\n"), output)
    let result = try run(
      [Programs.path("starttlsd"), "check", "--config", file(text + "certificate = [\"/missing\"]\n")], expecting: .exited(100))
    XCTAssertTrue(result.errors.contains("listener other: ") && result.errors.contains("/missing"), result.errors)
  }

  /// One listener serves with STARTTLS.
  func testAListenerOfAFileServes() throws {
    let path = try file(good + "backend-environment = [\"FOLDER\"]\ngrace = 1\n")
    let program = try SpawnedProgram(
      [Programs.path("starttlsd"), "--config", path], environment: ["FOLDER": folder.path], errors: .file(folder.path + "/log"))
    defer { program.kill() }
    func port() -> UInt16? {
      folder.text("log").split(separator: "\n").first { $0.contains("listening on") }?.split(separator: ":").last.flatMap { UInt16($0) }
    }
    XCTAssertTrue(eventually { port() != nil || !program.isRunning }, folder.text("log"))
    let client = try client(host: "127.0.0.1", port: try XCTUnwrap(port(), folder.text("log")))
    try SessionPhase.negotiatingInsideTLS.enter(client)
    XCTAssertEqual(try client.ask("QUIT").prefix(4), "221 ")
    client.close()
    program.signal(SIGTERM)
    XCTAssertEqual(program.wait(), .exited(0), folder.text("log"))
  }

  /// Files with changes at random are read or refused; nothing else happens.
  func testDamagedFilesNeverEndTheReader() throws {
    var random = SplitMix(state: 5)
    let octets = Array(try good.utf8)
    // Not the address, which would be looked up as a name.
    let end = Array(try good.components(separatedBy: "127.0.0.1")[0].utf8).count
    for _ in 0..<20 {
      var damaged = octets
      for _ in 0..<Int.random(in: 1...4, using: &random) { damaged[Int.random(in: 0..<end, using: &random)] = UInt8.random(in: 0...255, using: &random) }
      let path = try folder.write(damaged, to: "damaged.conf")
      chmod(path, 0o600)
      let result = try run([Programs.path("starttlsd"), "config", path], expecting: nil)
      XCTAssertTrue([.exited(0), .exited(100)].contains(result.end), "\(String(describing: result.end)) for \(damaged): \(result.errors)")
    }
  }
}
