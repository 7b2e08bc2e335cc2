// Which clients reach which cipher suite with each profile: openssl, gnutls-cli, Python and curl.

import Glibc
import Transport
import TransportTLS
import XCTest

final class TLSProfileTests: XCTestCase {
  /// Certificates with an EC and an RSA key.
  private func credentials(_ folder: String, _ kind: String = "both") throws -> TLSCredentials {
    var pairs: [TLSCredentials.Pair] = []
    for (name, key) in [("ec", ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]), ("rsa", ["rsa:2048"]), ("ed", ["ed25519"])]
    where kind == name || kind == "both" && name != "ed" {
      let pair = TLSCredentials.Pair(certificate: "\(folder)/\(name).pem", key: "\(folder)/\(name).key")
      let words = ["openssl", "req", "-x509", "-newkey"] + key + ["-nodes", "-days", "2", "-subj", "/CN=localhost"]
      XCTAssertEqual(try runProgram(words + ["-keyout", pair.key, "-out", pair.certificate]), .exited(0))
      pairs.append(pair)
    }
    return try TLSCredentials(pairs)
  }

  private struct Try {
    let client: [String]
    /// nil: refused.
    let modern: String?
    let compatible: String?
  }

  private let weak = "@SECLEVEL=0"

  func testWhichCipherSuiteOpenSSLReaches() throws {
    let cases: [Try] = [
      Try(client: ["-tls1_3"], modern: "TLS_AES_256_GCM_SHA384", compatible: "TLS_AES_256_GCM_SHA384"),
      Try(
        client: ["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"],
        modern: "TLS_CHACHA20_POLY1305_SHA256", compatible: "TLS_AES_256_GCM_SHA384"),
      Try(
        client: ["-tls1_2"], modern: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        compatible: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
      // Amazon SES and Windows Server 2012 R2 offer these for an RSA key.
      Try(
        client: ["-tls1_2", "-cipher", "ECDHE-RSA-AES256-SHA384"], modern: nil,
        compatible: "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384"),
      Try(client: ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA"], modern: nil, compatible: "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"),
      Try(
        client: ["-tls1_2", "-cipher", "DHE-RSA-AES256-GCM-SHA384"], modern: nil,
        compatible: "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384"),
      Try(client: ["-tls1_2", "-cipher", "DHE-RSA-AES128-SHA"], modern: nil, compatible: "TLS_DHE_RSA_WITH_AES_128_CBC_SHA"),
      // A client that prefers CBC does not get it if it has AEAD.
      Try(
        client: ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256"],
        modern: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", compatible: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
      // Nothing below.
      Try(client: ["-tls1_2", "-cipher", "AES128-SHA:AES256-GCM-SHA384:\(weak)"], modern: nil, compatible: nil),
      Try(client: ["-tls1_2", "-cipher", "ADH:AECDH:\(weak)"], modern: nil, compatible: nil),
      Try(client: ["-tls1_2", "-cipher", "eNULL:\(weak)"], modern: nil, compatible: nil),
      Try(client: ["-tls1_2", "-cipher", "ECDHE-RSA-CAMELLIA256-SHA384:ARIA:\(weak)"], modern: nil, compatible: nil),
      Try(client: ["-tls1_1", "-cipher", "DEFAULT:\(weak)"], modern: nil, compatible: nil),
      Try(client: ["-tls1_2", "-sigalgs", "RSA+SHA1:ECDSA+SHA1", "-cipher", "DEFAULT:\(weak)"], modern: nil, compatible: nil),
    ]
    try withFolder { folder in
      let credentials = try credentials(folder)
      for profile in [TLSProfile.modern, .compatible] {
        let priorities = try TLSPriorities(profile)
        for one in cases {
          let meeting = try TLSMeeting(credentials, one.client, priorities: priorities)
          let expected = profile == .modern ? one.modern : one.compatible
          XCTAssertEqual(meeting.outcome == .established ? meeting.stream.facts.cipher : nil, expected, "\(profile): \(one.client)")
          if expected == nil {
            let printed = meeting.printed(until: "alert")
            XCTAssertTrue(printed.contains("alert handshake failure") || printed.contains("alert protocol version"), printed)
          }
        }
      }
    }
  }

  /// The group of DHE has at least 3072 bits, for clients with RFC 7919 and without.
  func testTheGroupsOfDHE() throws {
    try withFolder { folder in
      let credentials = try credentials(folder)
      let priorities = try TLSPriorities(.compatible)
      let words = ["-tls1_2", "-cipher", "DHE-RSA-AES256-GCM-SHA384"]
      // openssl sends no groups of RFC 7919 in TLS 1.2.
      let old = try TLSMeeting(credentials, words, priorities: priorities)
      XCTAssertEqual(old.outcome, .established)
      XCTAssertTrue(old.printed(until: "Server Temp Key: DH").contains("Server Temp Key: DH, 3072 bits"))
      for (group, expected) in [("FFDHE3072", "ffdhe3072"), ("FFDHE4096", nil), ("FFDHE2048", nil)] {
        let meeting = try gnuTLS(credentials, priorities, "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+DHE-RSA:-GROUP-ALL:+GROUP-\(group)")
        XCTAssertEqual(meeting.outcome == .established ? meeting.stream.facts.group : nil, expected, group)
      }
    }
  }

  private func gnuTLS(_ credentials: TLSCredentials, _ priorities: TLSPriorities, _ text: String) throws -> TLSMeeting {
    try TLSMeeting(credentials, priorities: priorities) {
      ["gnutls-cli", "--insecure", "--priority", text, "--port", "\($0.port ?? 0)", "127.0.0.1"]
    }
  }

  /// Both profiles serve a client that is willing, with each type of key.
  func testEveryKeyTypeWithEveryClient() throws {
    for kind in ["ec", "rsa", "ed"] {
      try withFolder { folder in
        let credentials = try credentials(folder, kind)
        for profile in [TLSProfile.modern, .compatible] {
          let priorities = try TLSPriorities(profile)
          for version in ["1.2", "1.3"] {
            let text = "NORMAL:-VERS-ALL:+VERS-TLS\(version)"
            let what = "\(profile) \(kind) \(version)"
            let openssl = try TLSMeeting(credentials, ["-tls1_\(version.last!)"], priorities: priorities)
            XCTAssertEqual(openssl.outcome, .established, what)
            XCTAssertEqual(openssl.stream.facts.version, "TLSv\(version)")
            XCTAssertEqual(try gnuTLS(credentials, priorities, text).outcome, .established, what)
            let python = try TLSMeeting(credentials, priorities: priorities) {
              ["/usr/bin/python3", "-Ic", TLSProfileTests.python, "\($0.port ?? 0)", version]
            }
            XCTAssertEqual(python.outcome, .established, what)
            python.write("250 ok\r\n")
            let printed = python.printed(until: "250 ok")
            XCTAssertTrue(printed.contains("TLSv\(version) None 250 ok"), printed)
          }
        }
      }
    }
  }

  /// Prints version, compression and the first line.
  private static let python = """
    import socket, ssl, sys
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    version = ssl.TLSVersion.TLSv1_2 if sys.argv[2] == '1.2' else ssl.TLSVersion.TLSv1_3
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(('127.0.0.1', int(sys.argv[1]))) as plain, context.wrap_socket(plain) as tls:
        print(tls.version(), tls.compression(), tls.recv(100).decode(), flush=True)
    """

  // MARK: Downgrades

  /// A client that repeats its handshake with a lower version, because an attacker broke the first, is refused.
  func testAFallbackIsRefused() throws {
    try withFolder { folder in
      let credentials = try credentials(folder)
      for profile in [TLSProfile.modern, .compatible] {
        let meeting = try TLSMeeting(credentials, ["-tls1_2", "-fallback_scsv"], priorities: try TLSPriorities(profile))
        guard case .failed = meeting.outcome else { return XCTFail("\(profile)") }
        XCTAssertEqual(meeting.stream.alert?.name, "inappropriate_fallback")
        XCTAssertTrue(meeting.printed(until: "inappropriate fallback").contains("alert inappropriate fallback"))
      }
    }
  }

  /// The last octets of the server's random reveal that it has TLS 1.3 (RFC 8446, 4.1.3).
  func testAServerOfTLS13MarksTLS12() throws {
    try withFolder { folder in
      let credentials = try credentials(folder)
      for profile in [TLSProfile.modern, .compatible] {
        let meeting = try TLSMeeting(credentials, ["-tls1_2", "-msg"], priorities: try TLSPriorities(profile))
        XCTAssertEqual(meeting.outcome, .established)
        let digits = meeting.printed(until: ", Certificate\n").filter { !$0.isWhitespace }
        XCTAssertTrue(digits.contains("444f574e47524401"), digits)
      }
    }
  }

  // MARK: What is never used

  func testALPN() throws {
    try withFolder { folder in
      let credentials = try credentials(folder)
      for (offer, chosen) in [(["-alpn", "smtp"], "smtp"), ([], nil), (["-alpn", "h2,smtp"], "smtp")] as [([String], String?)] {
        let meeting = try TLSMeeting(credentials, offer, priorities: try TLSPriorities(.compatible))
        XCTAssertEqual(meeting.outcome, .established, "\(offer)")
        XCTAssertEqual(meeting.stream.facts.applicationProtocol, chosen)
      }
      for version in ["-tls1_2", "-tls1_3"] {
        let meeting = try TLSMeeting(credentials, [version, "-alpn", "h2"])
        guard case .failed = meeting.outcome else { return XCTFail("\(meeting.outcome)") }
        XCTAssertEqual(meeting.stream.alert?.name, "no_application_protocol")
      }
    }
  }

  /// A client that resumes gets no leave to send data before the handshake is complete.
  func testNoEarlyData() throws {
    try withFolder { folder in
      let credentials = try selfSigned(folder, tickets: true)
      XCTAssertEqual(try runProgram(["sh", "-c", "echo EHLO early > \(folder)/early"]), .exited(0))
      let first = try TLSMeeting(credentials, ["-tls1_3", "-sess_out", "\(folder)/session"])
      first.write("220 hello\r\n")
      _ = first.printed(until: "220 hello")
      first.client.put("Q\n")
      _ = first.printed(until: "DONE\n")
      let second = try TLSMeeting(credentials, ["-tls1_3", "-sess_in", "\(folder)/session", "-early_data", "\(folder)/early"])
      XCTAssertEqual(second.outcome, .established)
      let printed = second.printed(until: "Early data was")
      XCTAssertTrue(printed.contains("Early data was not sent") || printed.contains("Early data was rejected"), printed)
      second.client.put("NOOP\n")
      XCTAssertEqual(second.read().1, "NOOP\n", "nothing came before it")
    }
  }
}
