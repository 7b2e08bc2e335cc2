// CertificateChoiceTests: which certificate a client gets: by the server name that it requests, and by what it can use.

import Foundation
import Glibc
import XCTest

final class CertificateChoiceTests: StarttlsdTestCase {
  private func pair(_ made: Certificate, _ name: String? = nil) -> [String] {
    let prefix = name.map { $0 + "=" } ?? ""
    return ["--certificate", prefix + made.certificate, "--key", prefix + made.key]
  }

  // MARK: Kinds of keys

  func testRSAAndECDSAAndEd25519ForOneName() throws {
    let folder = TestFolder()
    let made = try KeyKind.allCases.map { try make("\($0)", $0, in: folder.path) }
    for named in [false, true] {
      let options = made.flatMap { pair($0, named ? "mx.example" : nil) } + ["--handshake-timeout", "10"]
      // The certificate that RunningDaemon adds comes first in the unnamed list: here the RSA one again.
      let daemon = try daemon(options, certificate: made[0])
      for (algorithms, cipher, kind) in [
        ("RSA-PSS+SHA256:RSA+SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "rsa"),
        ("ECDSA+SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256", "ecdsa"), ("ed25519", "ECDHE-ECDSA-AES128-GCM-SHA256", "ed25519"),
      ] {
        for version in [["-tls1_3"], ["-tls1_2", "-cipher", cipher]] {
          let options = version + ["-servername", "mx.example", "-sigalgs", algorithms]
          XCTAssertEqual(try commonName(of: daemon, options), kind, "\(options) \(named)")
        }
      }
      for (signature, kind) in [("RSA-PSS-RSAE-SHA256", "rsa"), ("ECDSA-SECP256R1-SHA256", "ecdsa"), ("EdDSA-Ed25519", "ed25519")] {
        let result = try run(
          [
            "gnutls-cli", "--starttls-proto=smtp", "--insecure", "--sni-hostname=mx.example", "--priority",
            "NORMAL:-SIGN-ALL:+SIGN-\(signature)", "--port", "\(daemon.port)", "127.0.0.1",
          ], input: "QUIT\n")
        XCTAssertTrue(result.output.contains("subject `CN=\(kind)'"), result.output)
      }
      let python = try run(["/usr/bin/python3", "-Ic", Self.python, "\(daemon.port)", "ECDHE-RSA-AES256-GCM-SHA384"])
      XCTAssertTrue(python.output.contains("CN = rsa"), python.output)
    }
  }

  private static let python = """
    import smtplib, ssl, subprocess, sys
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(sys.argv[2])
    with smtplib.SMTP('127.0.0.1', int(sys.argv[1]), local_hostname='client.example', timeout=10) as client:
        client._host = 'mx.example'
        client.starttls(context=context)
        shown = client.sock.getpeercert(True)
    print(subprocess.run(['openssl', 'x509', '-inform', 'DER', '-noout', '-subject'], input=shown, capture_output=True).stdout.decode())
    """

  // MARK: Names

  func testTheNameChooses() throws {
    let folder = TestFolder()
    let fallback = try make("fallback", names: ["fallback.example"], in: folder.path)
    let own = try make("own", names: ["own.example", "*.wild.example", "Upper.Example"], in: folder.path)
    let exact = try make("exact", names: ["a.wild.example"], in: folder.path)
    // Named: the names in the certificate do not matter.
    let given = try make("given", names: ["elsewhere.example"], in: folder.path)
    let star = try make("star", names: [], in: folder.path)
    let rsa = try make("given-rsa", .rsa, names: [], in: folder.path)
    let options = pair(own) + pair(exact) + pair(given, "Given.example") + pair(rsa, "given.example") + pair(star, "*.star.example")
    let daemon = try daemon(options, certificate: fallback)
    for (name, expected) in [
      ("own.example", "own"), ("OWN.Example", "own"), ("upper.example", "own"), ("b.wild.example", "own"), ("a.wild.example", "exact"),
      ("a.b.wild.example", "fallback"), ("wild.example", "fallback"), ("given.example", "given"), ("elsewhere.example", "fallback"),
      ("x.star.example", "star"), ("x.y.star.example", "fallback"), ("unknown.example", "fallback"), ("fallback.example", "fallback"),
      ("*.wild.example", "fallback"), (String(repeating: "a", count: 63) + ".wild.example", "own"), ("given.example.", "fallback"),
      ("-.wild.example", "own"), ("b_c.wild.example", "fallback"),
    ] {
      for version in ["-tls1_2", "-tls1_3"] {
        XCTAssertEqual(try commonName(of: daemon, [version, "-servername", name]), expected, "\(name) \(version)")
      }
    }
    XCTAssertEqual(try commonName(of: daemon, ["-noservername"]), "fallback")
    XCTAssertEqual(try commonName(of: daemon, ["-servername", "given.example", "-sigalgs", "RSA-PSS+SHA256"]), "given-rsa")
  }

  func testAllNamesAreShownByEachCommand() throws {
    let folder = TestFolder()
    let fallback = try make("fallback", names: ["fallback.example", "*.example"], in: folder.path)
    let given = try make("given", .rsa, names: ["elsewhere.example"], in: folder.path)
    let options = pair(given, "given.example") + pair(given, "*.more.example")
    let socket = folder.path + "/status"
    _ = try daemon(options + ["--status-socket", socket], certificate: fallback)
    let status = try run([Programs.path("starttlsd"), "status", socket]).output
    XCTAssertTrue(status.contains("certificate \(fallback.certificate) for fallback.example, *.example: "), status)
    XCTAssertTrue(status.contains("certificate \(given.certificate) for *.more.example, given.example: "), status)
    XCTAssertEqual(status.components(separatedBy: given.certificate).count, 2, "once in the metrics as well: \(status)")
    let list = try run([Programs.path("starttlsd"), "certificates"] + pair(fallback) + options).output
    XCTAssertTrue(list.contains("\(given.certificate): elsewhere.example\n  for clients that request given.example\n  key: RSA, 2048 bits\n"), list)
    let check = try run(
      [Programs.path("starttlsd"), "check", "--allow-root", "--trusting-backend"] + pair(fallback) + options + ["--", "/bin/cat"]).output
    XCTAssertTrue(check.contains("  for clients that request given.example\n"), check)
  }

  // MARK: What cannot be used

  func testEachFaultIsOneLineWithTheFile() throws {
    let folder = TestFolder()
    let good = try make("good", in: folder.path)
    let other = try make("other", in: folder.path)
    let old = try make("old", in: folder.path)
    try expire(old)
    let token = "pkcs11:token=x;object=y"
    for (options, text) in [
      (pair(good, "a..example"), "--certificate a..example=\(good.certificate): 'a..example' is not a DNS name"),
      (pair(good, "*.example"), "is not a DNS name, nor one with *. before at least two labels"),
      (pair(good, "a*.b.example"), "'a*.b.example' is not a DNS name"), (pair(good, ""), "'' is not a DNS name"),
      (pair(good, "mx.example"), "each --certificate has a name: give one without a name as well"),
      (pair(good) + ["--certificate", "mx.example=" + good.certificate], "1 --certificate and 0 --key for mx.example: each"),
      (pair(good) + pair(old, "mx.example"), "\(old.certificate): expired on 20"),
      (pair(good) + ["--certificate", "mx.example=" + good.certificate, "--key", "mx.example=" + other.key], "\(other.key) is not the key"),
      (pair(good) + ["--certificate", "mx.example=/nowhere", "--key", "mx.example=" + other.key], "/nowhere: open: No such file"),
      (["--certificate", good.certificate, "--key", token], "\(token): keys in a token (PKCS#11) are not supported: name a file"),
      (["--certificate-folder", "/nowhere"], "/nowhere: open: No such file"), (["--certificate-folder", "/"], "name a folder"),
      (["--certificate-folder", folder.path], "\(folder.path): no folder in it has fullchain.pem and privkey.pem: name the folder that has"),
      (pair(good) + ["--ocsp-response", "/nowhere"], "/nowhere: open: No such file"),
    ] {
      let result = try run([Programs.path("starttlsd"), "--allow-root"] + options + ["--", "/bin/cat"], expecting: .exited(100))
      XCTAssertTrue(result.errors.contains(text), "\(text): \(result.errors)")
      XCTAssertEqual(result.errors.split(separator: "\n").count, 1, result.errors)
    }
  }
}
