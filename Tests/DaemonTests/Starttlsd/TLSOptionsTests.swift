// TLSOptionsTests: what starttlsd accepts by its options, what it refuses at the start, and what it reports.

import Foundation
import XCTest

final class TLSOptionsTests: StarttlsdTestCase {
  /// What openssl prints about a session with these options.
  private func openssl(_ daemon: RunningDaemon, _ options: [String]) throws -> Result {
    try run(
      ["openssl", "s_client", "-starttls", "smtp", "-connect", "127.0.0.1:\(daemon.port)"] + options, input: "QUIT\r\n", expecting: nil)
  }

  private let cbc = ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA384"]

  /// With opportunistic TLS a client that has only CBC is served; where TLS is required it is not.
  func testTheDefaultDependsOnThePolicy() throws {
    for (options, cipher) in [
      ([], "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384"), (["--policy", "required"], nil), (["--tls-profile", "modern"], nil),
      (["--policy", "required", "--tls-profile", "compatible"], "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384"),
      (["--tls-profile", "priority=NORMAL:-VERS-ALL:+VERS-TLS1.2"], nil),
      (["--tls-profile", "priority=NORMAL:-VERS-ALL:+VERS-TLS1.2:+SHA384"], "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384"),
    ] as [([String], String?)] {
      let daemon = try daemon(options)
      _ = try openssl(daemon, cbc)
      let session = try daemon.session()
      XCTAssertEqual(session["cipher"], cipher, "\(options)")
      if cipher == nil { XCTAssertEqual(session["alert-name"], "handshake_failure", "\(options)") }
    }
  }

  func testStringsAndGroupsThatAreRefusedAtTheStart() throws {
    let good = try certificate()
    for (options, text) in [
      (["--tls-profile", "strong"], "--tls-profile strong: give modern, compatible"),
      (["--tls-profile", "priority=NORMAL"], "allow TLS1.1: leave it out"),
      (["--tls-profile", "priority=NORMAL:-VERS-ALL:+VERS-TLS1.3:+AES-257"], "not understood at octet 31, from '+AES-257' on"),
      (["--tls-profile", "priority=NONE:+VERS-TLS1.3"], "nothing usable is left"),
      (["--tls-profile", "priority=NONE:+VERS-TLS1.2:+CTYPE-X509:+COMP-NULL:+RSA:+AES-128-GCM:+AEAD:+SIGN-ALL"], "only the RSA key exchange"),
      (["--tls-profile", "priority=NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+PSK:+DHE-PSK"], "nothing usable is left: allow"),
      (["--ticket-lifetime", "100"], "--ticket-lifetime needs --session-tickets: give it as well"),
      (["--tls-groups", "x25519,curve25519"], "'curve25519' is not a group of this TLS library, which has "),
      (["--tls-groups", ""], "'' is not a group"),
    ] {
      let words = [try Programs.path("starttlsd"), "--allow-root", "--listen", "127.0.0.1:0"] + options
      let result = try run(
        words + ["--certificate", good.certificate, "--key", good.key, "--trusting-backend", "--", "/bin/cat"], expecting: .exited(100))
      XCTAssertTrue(result.errors.contains(text), "\(options): \(result.errors)")
      XCTAssertEqual(result.errors.split(separator: "\n").count, 1, result.errors)
      XCTAssertFalse(result.errors.contains("listening"))
    }
  }

  /// The process of the keys cannot decrypt. A client that has RSA key exchange and another one gets the other one.
  func testRSAKeyExchangeIsLeftOutUnlessTheKeyIsInTheProcess() throws {
    let folder = TestFolder()
    let rsa = try make("rsa", .rsa, in: folder.path)
    let profile = ["--tls-profile", "priority=NORMAL:-VERS-ALL:+VERS-TLS1.2"]
    let client = ["-tls1_2", "-cipher", "AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"]
    let warning = "--tls-profile: the RSA key exchange is left out, because the process that holds the keys only signs"
    for (own, ciphers) in [
      ([], ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", nil]),
      (["--key-in-process"], ["TLS_RSA_WITH_AES_128_GCM_SHA256", "TLS_RSA_WITH_AES_128_GCM_SHA256"]),
    ] as [([String], [String?])] {
      let daemon = try daemon(profile + own, certificate: rsa)
      XCTAssertEqual(daemon.log.components(separatedBy: warning).count, own.isEmpty ? 2 : 1, daemon.log)
      _ = try openssl(daemon, client)
      _ = try openssl(daemon, ["-tls1_2", "-cipher", "AES128-GCM-SHA256"])
      let sessions = try daemon.sessions(2)
      XCTAssertEqual(sessions.map { $0["cipher"] }, ciphers, "\(own)")
      XCTAssertEqual(sessions[1]["alert-name"], own.isEmpty ? "handshake_failure" : nil)
      let check = try run(
        [Programs.path("starttlsd"), "check", "--allow-root"] + profile + own
          + ["--certificate", rsa.certificate, "--key", rsa.key, "--trusting-backend", "--", "/bin/cat"])
      XCTAssertEqual(check.output.contains("warning: " + warning), own.isEmpty, check.output)
    }
  }

  /// Log, check and status name the groups in force; sessions are counted by group.
  func testGroupsAreReported() throws {
    let folder = TestFolder()
    let path = folder.path + "/status"
    let daemon = try daemon(["--tls-groups", "secp384r1,x25519", "--status-socket", path])
    XCTAssertTrue(daemon.log.contains("TLS profile compatible, groups secp384r1 x25519\n"), daemon.log)
    _ = try openssl(daemon, ["-groups", "X25519"])
    _ = try openssl(daemon, ["-groups", "X25519:P-384"])
    _ = try openssl(daemon, ["-groups", "P-384:P-256", "-tls1_2"])
    _ = try openssl(daemon, ["-groups", "P-256"])
    XCTAssertEqual(try daemon.sessions(4).map { $0["group"] }, ["x25519", "secp384r1", "secp384r1", nil])
    let text = try run([Programs.path("starttlsd"), "status", path]).output
    XCTAssertTrue(text.contains("\nTLS profile compatible, groups secp384r1 x25519\n"), text)
    XCTAssertTrue(text.contains("\nTLS sessions by group: secp384r1 2, x25519 1\n"), text)
    let json = try run([Programs.path("starttlsd"), "status", "--json", path]).output
    let object = try XCTUnwrap(try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any], json)
    XCTAssertEqual(object["tls-profile"] as? String, "compatible")
    XCTAssertEqual(object["tls-groups"] as? [String], ["secp384r1", "x25519"])
    XCTAssertEqual(object["sessions-by-group"] as? [String: Int], ["secp384r1": 2, "x25519": 1])
    let good = try certificate()
    let check = try run([
      Programs.path("starttlsd"), "check", "--allow-root", "--policy", "required", "--tls-groups", "x448", "--certificate", good.certificate,
      "--key", good.key, "--trusting-backend", "--", "/bin/cat",
    ])
    XCTAssertTrue(check.output.contains("TLS profile modern, groups x448\n"), check.output)
  }

  func testALPN() throws {
    let daemon = try daemon()
    let offers: [([String], String?)] = [([], nil), (["-alpn", "smtp"], nil), (["-alpn", "h2"], "no_application_protocol")]
    for (index, (options, alert)) in offers.enumerated() {
      _ = try openssl(daemon, options)
      XCTAssertEqual(try daemon.sessions(index + 1)[index]["alert-name"], alert, "\(options)")
    }
  }
}
