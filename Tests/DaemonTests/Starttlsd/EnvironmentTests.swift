// EnvironmentTests: what a backend gets: descriptors, environment, signals, and nothing of its predecessor.

import Foundation
import XCTest

final class EnvironmentTests: StarttlsdTestCase {
  /// Records what it is: first of its session, or second, and what it receives.
  private let observer = """
    if [ -n "$SSL_PROTOCOL" ]; then who=second; else who=first; fi
    tr '\\000' '\\n' </proc/$$/environ >"$FOLDER/environment.$who"
    say() { printf '%s\\r\\n' "$@"; }
    say '220 backend ESMTP'
    while read -r verb argument; do
      printf '%s\\n' "$verb $argument" | tr -d '\\r' >>"$FOLDER/received.$who"
      say '250 done'
      case $verb in QUIT*) exit ;; esac
    done
    """

  private func observed(
    _ options: [String] = [], environment: [String: String] = [:], listen: String = "127.0.0.1:0"
  ) throws -> RunningDaemon {
    try daemon(options, backend: .script(observer), listen: [listen], environment: environment)
  }

  private func session(with daemon: RunningDaemon, host: String = "127.0.0.1", version: String = "3") throws -> SMTPClient {
    let client = try client(host: host, port: daemon.port)
    try client.expect("220 ")
    try client.ask("EHLO secret.example")
    try client.startTLS(serverName: "MX2.example", version: version)
    XCTAssertEqual(try client.ask("NOOP"), "250 done")
    return client
  }

  private func variables(_ who: String, _ daemon: RunningDaemon) -> [String: String] {
    var found: [String: String] = [:]
    for line in daemon.folder.text("environment.\(who)").split(separator: "\n") {
      let parts = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      found[String(parts[0])] = parts.count > 1 ? String(parts[1]) : ""
    }
    return found
  }

  /// What a backend must not believe, each with a value that is not true.
  private let lies = [
    "SSL_PROTOCOL": "lie", "SSL_CIPHER": "lie", "SSL_TLS_SNI_SERVERNAME": "lie", "SSL_CLIENT_S_DN": "lie", "TLS_UID": "1",
    "TLS_ANYTHING": "lie", "CERTFILE": "lie", "KEYFILE": "lie", "CERTFILE:mx": "lie", "KEYFILE:mx": "lie", "CADIR": "lie",
    "CAFILE": "lie", "CRLFILE": "lie", "OCSPFILE": "lie", "OCSPFILE:mx": "lie", "UCSPITLS": "lie", "SSLCTLFD": "3", "SSLREADFD": "4", "SSLWRITEFD": "5", "PROTO": "lie",
    "TCPREMOTEIP": "lie", "TCPREMOTEPORT": "lie", "TCPREMOTEHOST": "lie", "TCPREMOTEINFO": "lie", "TCPLOCALIP": "lie",
    "TCPLOCALPORT": "lie", "TCPLOCALHOST": "lie", "LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "lie",
    "NOTIFY_SOCKET": "lie", "WATCHDOG_USEC": "lie", "WATCHDOG_PID": "1", "STARTTLSD_SESSION": "lie",
  ]

  /// Secrets of the daemon, switches such as RELAYCLIENT, which makes an open relay of qmail-smtpd, and lies stay outside.
  func testTheEnvironmentIsBuiltFromNothing() throws {
    let given = lies.merging(
      ["RELAYCLIENT": "", "SECRET_TOKEN": "s", "LD_PRELOAD": "", "LANG": "C.UTF-8", "TZ": "UTC", "NAMED": "yes", "EMPTY": ""]
    ) { a, _ in a }
    let names = ["NAMED", "EMPTY", "LANG", "NOT_SET"].flatMap { ["--backend-environment", $0] }
    let daemon = try observed(names, environment: given)
    let client = try session(with: daemon)
    let ours = ["PROTO", "TCPREMOTEIP", "TCPREMOTEPORT", "TCPLOCALIP", "TCPLOCALPORT", "STARTTLSD_SESSION"]
    let session = [
      "SSL_PROTOCOL", "SSL_CIPHER", "SSL_CIPHER_USEKEYSIZE", "SSL_CIPHER_ALGKEYSIZE", "SSL_SESSION_RESUMED", "SSL_TLS_SNI",
      "SSL_TLS_SNI_SERVERNAME", "SSL_CLIENT_VERIFY",
    ]
    let always = ["PATH", "LANG", "TZ", "NAMED", "EMPTY", "FOLDER", "STARTTLSD_TEST"]
    for (who, expected) in [("first", always + ours), ("second", always + ours + session)] {
      XCTAssertEqual(variables(who, daemon).keys.sorted(), expected.sorted(), who)
    }
    XCTAssertEqual(variables("first", daemon)["NAMED"], "yes")
    XCTAssertEqual(variables("first", daemon)["EMPTY"], "")
    client.close()
  }

  /// Each of these names would be a claim about TLS or the connection.
  func testNamesOfASessionAreNotPassedOn() throws {
    let good = try certificate()
    for name in lies.keys.sorted() {
      let result = try run(
        [Programs.path("starttlsd"), "--allow-root", "--listen", "127.0.0.1:0", "--certificate", good.certificate, "--key", good.key,
          "--backend-environment", name, "--trusting-backend", "--", "/bin/cat"], expecting: .exited(100))
      XCTAssertTrue(result.errors.hasPrefix("starttlsd: --backend-environment \(name): only a session"), result.errors)
    }
  }

  func testTheEnvironmentDescribesThisSession() throws {
    for version in ["2", "3"] {
      let daemon = try observed(environment: lies)
      let client = try session(with: daemon, version: version)
      var expected = [
        "PROTO": "TCP", "TCPREMOTEIP": "127.0.0.1", "TCPREMOTEPORT": "\(client.ownPort)", "TCPLOCALIP": "127.0.0.1",
        "TCPLOCALPORT": "\(daemon.port)",
      ]
      assertVariables(variables("first", daemon), expected)
      let facts = try client.facts().split(separator: " ")
      let second = variables("second", daemon)
      expected["SSL_PROTOCOL"] = "TLSv1.\(version)"
      XCTAssertEqual(expected["SSL_PROTOCOL"].map { Substring($0) }, facts.first)
      for name in ["SSL_TLS_SNI", "SSL_TLS_SNI_SERVERNAME"] { expected[name] = "mx2.example" }
      expected["SSL_SESSION_RESUMED"] = "Initial"
      expected["SSL_CLIENT_VERIFY"] = "NONE"
      for name in ["SSL_CIPHER_USEKEYSIZE", "SSL_CIPHER_ALGKEYSIZE"] { expected[name] = "256" }
      expected["SSL_CIPHER"] = second["SSL_CIPHER"]
      assertVariables(second, expected)
      // TLS 1.3 has one name for a cipher suite; in TLS 1.2 there are two worlds of them.
      if version == "3" { XCTAssertEqual(second["SSL_CIPHER"].map { Substring($0) }, facts.last) }
      XCTAssertEqual(second["SSL_CIPHER"]?.isEmpty, false)
      client.close()
    }
  }

  private func assertVariables(
    _ found: [String: String], _ expected: [String: String], file: StaticString = #filePath, line: UInt = #line
  ) {
    let ours = found.filter { name, _ in
      ["SSL", "TLS", "TCP", "CERT", "KEYFILE", "CA", "UCSPI", "PROTO"].contains { name.hasPrefix($0) }
    }
    XCTAssertEqual(ours, expected, file: file, line: line)
  }

  func testWithoutAServerNameThereIsNone() throws {
    let daemon = try observed()
    let client = try client(daemon)
    try client.expect("220 ")
    try client.ask("EHLO client.example")
    try client.startTLS(serverName: "")
    XCTAssertEqual(try client.ask("NOOP"), "250 done")
    XCTAssertNil(variables("second", daemon)["SSL_TLS_SNI_SERVERNAME"])
    client.close()
    XCTAssertNil(try daemon.session()["sni"])
  }

  func testAddressesOfIPv6() throws {
    try XCTSkipUnless(FileManager.default.fileExists(atPath: "/proc/net/if_inet6"), "there is no IPv6 here")
    let daemon = try observed(listen: "[::1]:0")
    let client = try session(with: daemon, host: "::1")
    for who in ["first", "second"] {
      let found = variables(who, daemon)
      XCTAssertEqual(found["PROTO"], "TCP")
      XCTAssertEqual(found["TCPREMOTEIP"], "::1")
      XCTAssertEqual(found["TCPREMOTEPORT"], "\(client.ownPort)")
      XCTAssertEqual(found["TCPLOCALIP"], "::1")
      XCTAssertEqual(found["TCPLOCALPORT"], "\(daemon.port)")
    }
    client.close()
    XCTAssertEqual(try daemon.session()["peer"], "[::1]:\(client.ownPort)")
  }

  /// A listener for both families: an address that only wraps an IPv4 one is given as the IPv4 address.
  func testAddressesOfIPv4OverIPv6() throws {
    try XCTSkipUnless(FileManager.default.fileExists(atPath: "/proc/net/if_inet6"), "there is no IPv6 here")
    let daemon = try observed(listen: "[::]:0")
    let client = try session(with: daemon)
    let found = variables("second", daemon)
    XCTAssertEqual(found["TCPREMOTEIP"], "127.0.0.1")
    XCTAssertEqual(found["TCPLOCALIP"], "127.0.0.1")
    client.close()
  }

  /// Not a shell: that one opens descriptors of its own.
  private let lister = """
    import fcntl, os, sys
    found = []
    for name in os.listdir('/proc/self/fd'):
        try:
            target = os.readlink('/proc/self/fd/' + name)
        except OSError:
            continue  # The folder itself.
        found.append(f'{name} {target} {fcntl.fcntl(int(name), fcntl.F_GETFL) & os.O_NONBLOCK}')
    who = 'second' if 'SSL_PROTOCOL' in os.environ else 'first'
    with open(os.environ['FOLDER'] + '/descriptors.' + who, 'w') as file:
        file.write('\\n'.join(found))
    print('220 backend', end='\\r\\n', flush=True)
    for line in sys.stdin:
        print('250 done', end='\\r\\n', flush=True)
    """

  func testDescriptorsAreThreeAndNotTheClients() throws {
    let daemon = try daemon(backend: .program(["/usr/bin/python3", "-ISc", lister]))
    // Another session beside it has descriptors of its own.
    let other = try client(daemon)
    try other.expect("220 ")
    let client = try session(with: daemon)
    let accepted = try XCTUnwrap(ProcessTable.acceptedSocket(on: daemon.port, from: client.ownPort))
    for who in ["first", "second"] {
      let lines = daemon.folder.text("descriptors.\(who)").split(separator: "\n")
      let words = lines.map { $0.split(separator: " ") }.sorted { $0[0] < $1[0] }
      XCTAssertEqual(words.map(\.[0]), ["0", "1", "2"], who)
      guard words.count == 3 else { continue }
      XCTAssertTrue(words[0][1].hasPrefix("socket:["))
      XCTAssertEqual(words[0][1], words[1][1])
      XCTAssertNotEqual(String(words[0][1]), accepted)
      XCTAssertEqual(String(words[2][1]), daemon.folder.path + "/log")
      XCTAssertEqual(words.map(\.[2]), ["0", "0", "0"], "O_NONBLOCK in \(who)")
    }
    client.close()
    other.close()
  }

  /// The daemon ignores SIGPIPE and blocks SIGTERM; a backend does neither. (glibc ignores 32 and 33, its own.)
  func testSignalsHaveTheirDefaultActionAndNoneIsBlocked() throws {
    let daemon = try daemon(backend: .program(["/bin/sh", "-c", "exec cat /proc/self/status >\"$FOLDER/status\""]))
    let client = try client(daemon)
    XCTAssertTrue(try client.remainder().text.hasPrefix("421 4.3.2 "))
    client.close()
    var masks: [Substring: UInt64] = [:]
    for line in daemon.folder.text("status").split(separator: "\n") where line.hasPrefix("Sig") {
      masks[line.prefix(6)] = line.split(separator: "\t").last.flatMap { UInt64($0, radix: 16) }
    }
    XCTAssertEqual(masks["SigBlk"], 0)
    XCTAssertEqual(masks["SigIgn"].map { $0 & ~0x1_8000_0000 }, 0)
  }

  /// RFC 3207, 4.2: nothing that was sent in clear is known inside TLS.
  func testTheSecondBackendKnowsNothingOfTheFirst() throws {
    let daemon = try observed()
    let client = try session(with: daemon)
    XCTAssertEqual(try client.ask("QUIT"), "250 done")
    client.close()
    XCTAssertEqual(daemon.folder.text("received.first"), "EHLO secret.example\n")
    XCTAssertEqual(daemon.folder.text("received.second"), "NOOP \nQUIT \n")
    XCTAssertFalse(variables("second", daemon).values.contains { $0.contains("secret") })
    _ = try daemon.session()
  }

  func testMAILInsideTLSNeedsAnEHLOOfItsOwn() throws {
    let daemon = try daemon()
    let client = try client(daemon)
    try SessionPhase.secured.enter(client)
    XCTAssertEqual(try client.ask("MAIL FROM:<a@b>"), "503 5.5.1 Say EHLO or HELO first")
    client.close()
    _ = try daemon.session()
    daemon.assertNothingIsDelivered()
  }
}
