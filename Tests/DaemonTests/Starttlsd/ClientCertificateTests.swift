// ClientCertificateTests: clients that show a certificate: who is let in, and what the program and the log get of it.

import Foundation
import Glibc
import XCTest

final class ClientCertificateTests: StarttlsdTestCase {
  // Made once, since making them takes longer than the tests.
  nonisolated(unsafe) private static var files: TestFolder?

  override class func tearDown() {
    files = nil
    super.tearDown()
  }

  /// An issuer, and certificates of it: good, revoked, for servers only, with odd subjects, and below another issuer; and a stranger.
  private func files() throws -> String {
    if let made = Self.files { return made.path }
    let folder = TestFolder()
    Self.files = folder
    let path = folder.path
    try make("ca", names: [], in: path, subject: "/CN=Client CA")
    try make("good", names: [], in: path, subject: "/O=Example, Inc./CN=mx.good.example/emailAddress=post@good.example", issuer: "ca")
    try make("revoked", names: [], in: path, issuer: "ca")
    try make("server", names: [], in: path, issuer: "ca", ["-days", "30", "-addext", "extendedKeyUsage=serverAuth"])
    try make("client", names: [], in: path, issuer: "ca", ["-days", "30", "-addext", "extendedKeyUsage=clientAuth"])
    try make("stranger", names: [], in: path)
    try make("evil", names: [], in: path, subject: "/CN=a\nRELAYCLIENT=\"x\" \u{7f}/O=\"q\"", issuer: "ca")
    try make("middle", names: [], in: path, ["-days", "30", "-CA", path + "/ca.pem", "-CAkey", path + "/ca.key"])
    try make("below", names: [], in: path, issuer: "middle")
    try make("long", names: [], in: path, subject: (0..<30).map { "/OU=\($0)" + String(repeating: "x", count: 60) }.joined(), issuer: "ca")
    try folder.write(
      Array("[ca]\ndefault_ca=d\n[d]\ndatabase=\(path)/index\ndefault_md=sha256\ncrlnumber=\(path)/number\n".utf8), to: "ca.conf")
    try folder.write([], to: "index")
    try folder.write(Array("01\n".utf8), to: "number")
    let command = ["openssl", "ca", "-config", path + "/ca.conf", "-cert", path + "/ca.pem", "-keyfile", path + "/ca.key"]
    try run(command + ["-gencrl", "-crldays", "30", "-out", path + "/empty.crl"])
    try run(command + ["-revoke", path + "/revoked.pem"])
    try run(command + ["-gencrl", "-crldays", "30", "-out", path + "/crl.pem"])
    try run(["faketime", "-f", "-2d"] + command + ["-gencrl", "-crldays", "1", "-out", path + "/old.crl"])
    try run(command + ["-revoke", path + "/middle.pem"])
    try run(command + ["-gencrl", "-crldays", "30", "-out", path + "/middle.crl"])
    let other = ["openssl", "ca", "-config", path + "/ca.conf", "-cert", path + "/stranger.pem", "-keyfile", path + "/stranger.key"]
    try run(other + ["-gencrl", "-crldays", "30", "-out", path + "/foreign.crl"])
    try run(["faketime", "-f", "-2d"] + other + ["-gencrl", "-crldays", "1", "-out", path + "/foreign-old.crl"])
    // A stranger with the name of the issuer.
    try make("forger", names: [], in: path, subject: "/CN=Client CA")
    let forger = ["openssl", "ca", "-config", path + "/ca.conf", "-cert", path + "/forger.pem", "-keyfile", path + "/forger.key"]
    try run(forger + ["-gencrl", "-crldays", "30", "-out", path + "/forged.crl"])
    try run(["faketime", "-f", "-2d"] + forger + ["-gencrl", "-crldays", "1", "-out", path + "/forged-old.crl"])
    for (name, current) in [("mixed-forged.crl", "forged.crl"), ("mixed-good.crl", "crl.pem")] {
      try folder.write(folder.contents(current) + folder.contents("foreign-old.crl"), to: name)
    }
    try folder.write(folder.contents("old.crl") + folder.contents("empty.crl"), to: "mixed-old.crl")
    try folder.write(folder.contents("empty.crl") + folder.contents("old.crl"), to: "mixed-new.crl")
    try folder.write(folder.contents("forged-old.crl") + folder.contents("crl.pem"), to: "mixed-forged-old.crl")
    try folder.write(folder.contents("ca.pem") + folder.contents("forger.pem"), to: "two.pem")
    return path
  }

  private let observer = ShellBackend.script(
    "[ -z \"$SSL_PROTOCOL\" ] || env | grep -aE '^(SSL_|RELAYCLIENT)' >\"$FOLDER/facts\"; say '220 backend ESMTP'", answers: [("quit*", "say '221 bye'; exit")])

  private func session(
    _ name: String?, _ options: [String], version: String = "-tls1_3", chain: [String] = []
  ) throws -> (session: LoggedSession, facts: [String: String], shown: String) {
    let path = try files()
    let daemon = try daemon(["--client-ca", path + "/ca.pem"] + options, backend: .script(observer))
    let own = name.map { ["-cert", "\(path)/\($0).pem", "-key", "\(path)/\($0).key"] } ?? []
    let others = chain.flatMap { ["-cert_chain", "\(path)/\($0).pem"] }
    let shown = try shown(by: daemon, [version] + own + others, expecting: nil)
    let session = try daemon.session()
    var facts: [String: String] = [:]
    for line in daemon.folder.text("facts").split(separator: "\n") {
      let parts = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      facts[String(parts[0])] = String(parts.last ?? "")
    }
    return (session, facts, shown)
  }

  func testAGoodCertificateIsReported() throws {
    let path = try files()
    let digest = try run(["/bin/sh", "-c", "openssl x509 -in \(path)/good.pem -outform DER | openssl dgst -sha256 -r"]).output.prefix(64)
    for version in ["-tls1_2", "-tls1_3"] {
      for request in ["optional", "required"] {
        let (session, facts, _) = try session("good", ["--client-certificate", request, "--client-crl", path + "/crl.pem"], version: version)
        XCTAssertEqual(session["client-verify"], "success", "\(session)")
        XCTAssertEqual(session["client-hash"], "SHA256:\(digest)", "\(session)")
        let subject = "EMAIL=post@good.example,CN=mx.good.example,O=Example\\, Inc."
        XCTAssertEqual(session["client-subject"], subject.replacingOccurrences(of: "\\", with: "\\x5C"), "\(session)")
        XCTAssertEqual(facts["SSL_CLIENT_VERIFY"], "SUCCESS")
        XCTAssertEqual(facts["SSL_CLIENT_S_DN"], subject)
        XCTAssertEqual(facts["SSL_PEER_CERT_SUBJECT"], subject)
        XCTAssertEqual(facts["SSL_CLIENT_S_DN_CN"], "mx.good.example")
        XCTAssertEqual(facts["SSL_CLIENT_S_DN_Email"], "post@good.example")
        XCTAssertEqual(facts["SSL_CLIENT_I_DN"], "CN=Client CA")
        XCTAssertEqual(facts["SSL_PEER_CERT_HASH"], "SHA256:\(digest)")
      }
    }
    XCTAssertEqual(try session("client", ["--client-certificate", "required"]).session["client-verify"], "success")
  }

  /// What is not valid is never reported as if it were; with `required` the handshake fails.
  func testACertificateThatIsNotValid() throws {
    let path = try files()
    let crl = ["--client-crl", path + "/crl.pem"]
    for (name, reason) in [("stranger", "unknown issuer"), ("revoked", "revoked"), ("server", "not for clients")] {
      for version in ["-tls1_2", "-tls1_3"] {
        let (session, facts, _) = try session(name, ["--client-certificate", "optional"] + crl, version: version)
        XCTAssertEqual(session.outcome, "handoff: quit", "\(session)")
        XCTAssertEqual(session["client-verify"], "failed", "\(session)")
        XCTAssertEqual(session["client-verify-failure"], reason, "\(session)")
        XCTAssertNil(session["client-subject"], "\(session)")
        XCTAssertEqual(facts["SSL_CLIENT_VERIFY"], "FAILED:\(reason)")
        XCTAssertEqual(facts.keys.filter { $0.hasPrefix("SSL_CLIENT_") || $0.hasPrefix("SSL_PEER") }, ["SSL_CLIENT_VERIFY"])
        let refused = try self.session(name, ["--client-certificate", "required"] + crl, version: version)
        XCTAssertEqual(
          refused.session["failure"], "TLS handshake: the client's certificate is not accepted: \(reason)", "\(refused.session)")
        XCTAssertEqual(refused.facts, [:])
      }
    }
    XCTAssertEqual(try session("revoked", ["--client-certificate", "required"]).session["client-verify"], "success", "without a list")
  }

  /// An issuer between the client and one that is trusted.
  func testAnIssuerThatIsRevoked() throws {
    let path = try files()
    let required = ["--client-certificate", "required", "--client-crl"]
    let good = try session("below", required + [path + "/crl.pem"], chain: ["middle"])
    XCTAssertEqual(good.session["client-verify"], "success", "\(good.session)")
    let (session, _, _) = try session("below", required + [path + "/middle.crl"], chain: ["middle"])
    XCTAssertEqual(session["failure"], "TLS handshake: the client's certificate is not accepted: revoked", "\(session)")
  }

  func testAClientWithoutACertificate() throws {
    for version in ["-tls1_2", "-tls1_3"] {
      let (session, facts, _) = try session(nil, ["--client-certificate", "optional"], version: version)
      XCTAssertEqual(session["client-verify"], "none", "\(session)")
      XCTAssertEqual(facts["SSL_CLIENT_VERIFY"], "NONE")
      XCTAssertNil(facts["SSL_CLIENT_S_DN"])
      let refused = try self.session(nil, ["--client-certificate", "required"], version: version)
      XCTAssertTrue(refused.session["failure"]?.hasPrefix("TLS handshake: ") ?? false, "\(refused.session)")
      XCTAssertEqual(refused.facts, [:])
    }
  }

  /// Text of a certificate sets no other variable and makes no other line.
  func testOddSubjects() throws {
    for name in ["evil", "long"] {
      let (session, facts, _) = try session(name, ["--client-certificate", "required"])
      XCTAssertEqual(session["client-verify"], "success", "\(session)")
      XCTAssertNil(facts["RELAYCLIENT"])
      XCTAssertNil(facts["SSL_CLIENT_S_DN_CN"], name)
      for variable in ["SSL_CLIENT_S_DN", "SSL_PEER_CERT_SUBJECT"] {
        // The library writes a control character as hexadecimal digits.
        XCTAssertFalse(facts[variable]?.contains("RELAYCLIENT") ?? false, "\(facts)")
        if name == "long" { XCTAssertNil(facts[variable]) }
      }
      XCTAssertNotNil(facts["SSL_PEER_CERT_HASH"])
    }
  }

  func testAFolderOfIssuersAndTheReload() throws {
    let path = try files()
    let folder = TestFolder()
    mkdir(folder.path + "/issuers", 0o700)
    let crl = folder.path + "/crl.pem"
    try run(["cp", path + "/ca.pem", folder.path + "/issuers/one.pem"])
    try run(["cp", path + "/empty.crl", crl])
    try folder.write(Array("a text\n".utf8), to: "issuers/README")
    let daemon = try daemon(
      ["--client-certificate", "required", "--client-ca", folder.path + "/issuers", "--client-crl", crl], backend: .script(observer))
    func isLetIn(_ name: String) throws -> Bool {
      try shown(by: daemon, ["-cert", "\(path)/\(name).pem", "-key", "\(path)/\(name).key"], expecting: nil).contains("221 ")
    }
    XCTAssertTrue(try isLetIn("good"))
    XCTAssertTrue(try isLetIn("revoked"))
    XCTAssertFalse(try isLetIn("stranger"))
    let loaded = { daemon.log.components(separatedBy: "the certificates are loaded again").count - 1 }
    func replace(_ from: String, _ to: String) throws {
      let before = loaded()
      // Not in the folder of the issuers, where it would be one more.
      try run(["cp", from, folder.path + "/new"])
      XCTAssertEqual(rename(folder.path + "/new", to), 0)
      XCTAssertTrue(eventually { loaded() > before }, daemon.log)
    }
    try replace(path + "/crl.pem", crl)
    XCTAssertFalse(try isLetIn("revoked"))
    XCTAssertTrue(try isLetIn("good"))
    // Not signed by an issuer that is trusted: nothing changes. Nor with one that has expired, which has no effect.
    for (name, text) in [("foreign.crl", "not signed by one of the issuers"), ("forged-old.crl", "no list in it is signed by one of the issuers")] {
      try run(["cp", "\(path)/\(name)", crl + ".new"])
      XCTAssertEqual(rename(crl + ".new", crl), 0)
      XCTAssertTrue(eventually { daemon.log.contains("stay as they were: \(crl): \(text)") }, daemon.log)
      XCTAssertFalse(try isLetIn("revoked"))
    }
    try replace(path + "/crl.pem", crl)
    try replace(path + "/stranger.pem", folder.path + "/issuers/two.pem")
    XCTAssertTrue(try isLetIn("stranger"))
  }

  func testAListThatHasExpiredIsAWarningAndRefuses() throws {
    let path = try files()
    let text = try check(["--client-ca", path + "/ca.pem", "--client-crl", path + "/old.crl"])
    XCTAssertTrue(text.contains("warning: \(path)/old.crl: this revocation list expired on 20"), text)
    let (session, _, _) = try session("good", ["--client-certificate", "required", "--client-crl", path + "/old.crl"])
    XCTAssertEqual(
      session["failure"], "TLS handshake: the client's certificate is not accepted: revocation list expired", "\(session)")
  }

  /// The signature of each list that has not expired is checked, whatever else the file has.
  func testAListThatHasExpiredDoesNotExcuseTheOthers() throws {
    let path = try files()
    let (session, _, _) = try session("revoked", ["--client-certificate", "required", "--client-crl", path + "/mixed-good.crl"])
    XCTAssertEqual(session["failure"], "TLS handshake: the client's certificate is not accepted: revoked", "\(session)")
    let good = try self.session("good", ["--client-certificate", "required", "--client-crl", path + "/mixed-good.crl"])
    XCTAssertEqual(good.session["client-verify"], "success", "\(good.session)")
  }

  /// Anybody can make a list with the name of an issuer.
  func testAListThatHasExpiredAndThatNobodySignedHasNoEffect() throws {
    let path = try files()
    let crl = ["--client-crl", path + "/mixed-forged-old.crl"]
    let good = try session("good", ["--client-certificate", "required"] + crl)
    XCTAssertEqual(good.session["client-verify"], "success", "\(good.session)")
    let text = try check(["--client-ca", path + "/ca.pem"] + crl)
    XCTAssertTrue(text.contains("warning: \(path)/mixed-forged-old.crl: a revocation list has expired and is not signed by one of the issuers"), text)
  }

  private func check(_ options: [String]) throws -> String {
    let own = try certificate()
    let command = [try Programs.path("starttlsd"), "check", "--allow-root", "--trusting-backend", "--certificate", own.certificate, "--key", own.key]
    return try run(command + ["--client-certificate", "required"] + options + ["--", "/bin/cat"]).output
  }

  /// A later list without a certificate does not make it good again. Either of them may come first in the file.
  func testWhatAListThatHasExpiredRevokesStaysRevoked() throws {
    let path = try files()
    for name in ["mixed-old.crl", "mixed-new.crl"] {
      let crl = ["--client-crl", "\(path)/\(name)"]
      let (session, _, _) = try session("revoked", ["--client-certificate", "required"] + crl)
      XCTAssertEqual(session["failure"], "TLS handshake: the client's certificate is not accepted: revoked", "\(session)")
      let good = try self.session("good", ["--client-certificate", "required"] + crl)
      XCTAssertEqual(good.session["client-verify"], "success", "\(name) \(good.session)")
      let text = try check(["--client-ca", path + "/ca.pem"] + crl)
      XCTAssertFalse(text.contains("expired"), text)
    }
  }

  /// The old and the new key of an issuer have one name.
  func testAListOfEachOfTwoIssuersWithOneName() throws {
    let path = try files()
    for list in ["crl.pem", "forged.crl"] {
      let text = try check(["--client-ca", path + "/two.pem", "--client-crl", "\(path)/\(list)"])
      XCTAssertFalse(text.contains("warning: \(path)"), text)
    }
  }

  func testTheServersKeyMayBeInTheFolderOfTheIssuers() throws {
    let folder = TestFolder()
    let own = try make("own", in: folder.path)
    let daemon = try daemon(["--client-certificate", "optional", "--client-ca", folder.path], certificate: own)
    XCTAssertEqual(try commonName(of: daemon, []), "own")
  }

  func testWhatTheOptionsNeed() throws {
    let path = try files()
    let own = try certificate()
    for (options, text) in [
      (["--client-certificate", "required"], "--client-certificate needs the issuers"), (["--client-ca", "x"], "need --client-certificate"),
      (["--client-certificate", "optional", "--client-ca", "/nowhere"], "/nowhere: open: No such file"),
      (["--client-certificate", "optional", "--client-ca", own.key], "\(own.key): "),
      (["--client-certificate", "optional", "--client-ca", path + "/ca.pem", "--client-crl", path + "/ca.pem"], "expected revocation lists"),
      (["--client-certificate", "optional", "--client-ca", path + "/ca.pem", "--client-crl", path + "/foreign.crl"], "not signed by one of"),
      (["--client-certificate", "optional", "--client-ca", path + "/ca.pem", "--client-crl", path + "/mixed-forged.crl"], "not signed by one of"),
      (["--client-certificate", "optional", "--client-ca", path + "/ca.pem", "--client-crl", path + "/foreign-old.crl"], "no list in it is signed"),
      (["--client-certificate", "optional", "--client-ca", path + "/ca.pem", "--client-crl", path + "/crl.pem", "--client-crl", path + "/foreign-old.crl"],
        "foreign-old.crl: no list in it is signed"),
      (["--client-certificate", "optional", "--client-ca", path + "/ca.pem", "--session-tickets"], "--session-tickets cannot be used with"),
    ] {
      let result = try run(
        [Programs.path("starttlsd"), "--allow-root", "--certificate", own.certificate, "--key", own.key] + options + ["--", "/bin/cat"],
        expecting: .exited(100))
      XCTAssertTrue(result.errors.contains(text), "\(text): \(result.errors)")
    }
  }
}
