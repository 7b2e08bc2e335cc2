// CommandTests: `starttlsd certificates` and `starttlsd check`.

import Foundation
import XCTest

final class CommandTests: StarttlsdTestCase {
  /// The digest of a TLSA record 3 1 1 as openssl computes it.
  private func digest(_ arguments: String) throws -> String {
    let result = try run(["/bin/sh", "-c", "openssl \(arguments) -outform DER 2>/dev/null | openssl dgst -sha256 -r"])
    return String(result.output.prefix(64))
  }

  func testCertificatesAreShownWithTheirRecords() throws {
    let folder = TestFolder()
    let elliptic = try makeCertificate(
      "elliptic", in: folder, ["-days", "30", "-addext", "subjectAltName=DNS:mx.example,DNS:*.mx.example"])
    let plain = try makeCertificate("plain", in: folder, ["-days", "40"])
    let next = folder.path + "/next.key"
    try run(["openssl", "genrsa", "-out", next, "2048"])
    let result = try run([
      Programs.path("starttlsd"), "certificates", "--certificate", elliptic.certificate, "--key", elliptic.key,
      "--certificate", plain.certificate, "--key", plain.key, "--next-key", next,
    ])
    func key(_ made: Certificate) throws -> String { try digest("pkey -in \(made.key) -pubout") }
    let lines = result.output.split(separator: "\n")
    XCTAssertEqual(lines.count, 10, result.output)
    guard lines.count == 10 else { return }
    XCTAssertEqual(lines[0], "\(elliptic.certificate): mx.example, *.mx.example")
    XCTAssertEqual(lines[1], "  key: EC/ECDSA, 256 bits")
    XCTAssertTrue(lines[2].hasPrefix("  valid until 20"), String(lines[2]))
    // The last full day may have begun a second ago.
    XCTAssertTrue([", days left: 29", ", days left: 30"].contains { lines[2].hasSuffix($0) }, String(lines[2]))
    XCTAssertEqual(String(lines[3]), "  TLSA 3 1 1 \(try key(elliptic))")
    XCTAssertEqual(lines[4], "\(plain.certificate): mx.example")
    XCTAssertEqual(String(lines[7]), "  TLSA 3 1 1 \(try key(plain))")
    XCTAssertEqual(lines[8], "\(next): the next key, RSA, 2048 bits")
    XCTAssertEqual(String(lines[9]), "  TLSA 3 1 1 \(try digest("pkey -in \(next) -pubout"))")
    // What openssl reads from the certificate, not from the key.
    let served = try run(["/bin/sh", "-c", "openssl x509 -in \(plain.certificate) -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha256 -r"])
    XCTAssertEqual(String(served.output.prefix(64)), try key(plain))
  }

  /// RFC 3207, section 4.
  func testRequiredTLSOnPort25IsWarnedOf() throws {
    let made = try certificate()
    func check(_ options: [String]) throws -> String {
      try run([
        Programs.path("starttlsd"), "check", "--allow-root", "--certificate", made.certificate, "--key", made.key, "--trusting-backend",
      ] + options + ["--", "/bin/true"]).output
    }
    XCTAssertTrue(try check(["--policy", "required", "--listen", "127.0.0.1:25"]).contains("--policy required on port 25: RFC 3207"))
    for options in [
      ["--policy", "required", "--listen", "127.0.0.1:587"], ["--listen", "127.0.0.1:25"], ["--policy", "required", "--protocol", "lmtp", "--listen", "[::1]:25"],
    ] { XCTAssertFalse(try check(options).contains("RFC 3207"), "\(options)") }
  }

  func testOnlyRSAKeysAreAdvisedAgainst() throws {
    let folder = TestFolder()
    let elliptic = try makeCertificate("elliptic", in: folder)
    let (certificate, key) = (folder.path + "/rsa.pem", folder.path + "/rsa.key")
    try run([
      "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=mx.example", "-keyout", key, "-out", certificate,
    ])
    func lines(_ command: [String], _ pairs: [(String, String)]) throws -> [Substring] {
      let options = pairs.flatMap { ["--certificate", $0.0, "--key", $0.1] }
      return try run([Programs.path("starttlsd")] + command + options + (command == ["check"] ? ["--allow-root", "--trusting-backend", "--", "/bin/true"] : []))
        .output.split(separator: "\n").filter { $0.hasPrefix("advice: ") }
    }
    for command in [["check"], ["certificates"]] {
      let advice = try lines(command, [(certificate, key)])
      XCTAssertEqual(advice.count, 1)
      XCTAssertTrue(advice.first?.contains("all certificates have RSA keys: a signature with P-256") == true)
      XCTAssertEqual(try lines(command, [(certificate, key), (elliptic.certificate, elliptic.key)]), [])
    }
  }

  func testCertificatesThatCannotBeServedAreAUsageError() throws {
    let folder = TestFolder()
    let (one, other) = (try makeCertificate("one", in: folder), try makeCertificate("other", in: folder))
    for (options, text) in [
      ([], "there is no certificate"), (["--certificate", one.certificate], "each certificate needs its key"),
      (["--certificate", one.certificate, "--key", other.key], "is not the key"),
      (["--certificate", one.certificate, "--key", one.key, "--next-key", one.certificate], "expected an unencrypted private key"),
    ] {
      let result = try run([Programs.path("starttlsd"), "certificates"] + options, expecting: .exited(100))
      XCTAssertTrue(result.errors.contains(text), result.errors)
      XCTAssertEqual(result.errors.split(separator: "\n").count, 1, result.errors)
    }
  }

  private func check(
    _ script: String, _ options: [String] = [], expecting code: CInt
  ) throws -> (output: String, errors: String) {
    let folder = TestFolder()
    let good = try certificate()
    let program = try folder.write(Array(("#!/bin/sh\n" + script).utf8), to: "backend")
    chmod(program, 0o755)
    let result = try run(
      [Programs.path("starttlsd"), "check", "--allow-root", "--certificate", good.certificate, "--key", good.key]
        + options + ["--", program], expecting: .exited(code))
    return (result.output.replacingOccurrences(of: program, with: "PROGRAM"), result.errors)
  }

  func testCheckPrintsWhatItFindsAndEndsWithTheClassOfTheFault() throws {
    let refusing = ShellBackend.script(answers: [("RCPT*", "say '550 no relay'")])
    let good = try check(refusing, expecting: 0)
    XCTAssertEqual(good.errors, "")
    for line in ["listen on 127.0.0.1:2525", "key: EC/ECDSA, 256 bits", "PROGRAM refuses mail to other domains: 550 no relay"] {
      XCTAssertTrue(good.output.contains(line), good.output)
    }
    XCTAssertTrue(good.output.hasSuffix("no fault found\n"), good.output)
    let relay = try check(ShellBackend.script(), expecting: 100)
    XCTAssertTrue(relay.errors.contains("is an open relay"), relay.errors)
    let broken = try check("exit 7", expecting: 111)
    XCTAssertTrue(broken.errors.contains("does not work") && broken.errors.contains("exit code 7"), broken.errors)
    let bad = try check(refusing, ["--policy", "strict"], expecting: 100)
    XCTAssertTrue(bad.errors.contains("policy"), bad.errors)
    // Only a start creates the self-signed certificate.
    let state = TestFolder()
    let embedded = try run([Programs.path("starttlsd"), "check", "--allow-root", "--state-folder", state.path + "/state"]).output
    XCTAssertTrue(embedded.contains("a self-signed certificate will be created in \(state.path)/state at the start\n"), embedded)
    XCTAssertEqual(state.names(in: ""), [])
    let untested = try check(ShellBackend.script(), ["--trusting-backend"], expecting: 0)
    XCTAssertTrue(untested.output.contains("is not tested"), untested.output)
  }

  /// Where both streams are one pipe too, the line that states what to do is the last one.
  func testTheFaultIsTheLastLineOfCheck() throws {
    let good = try certificate()
    let result = try run(
      [
        "/bin/sh", "-c", "exec \"$0\" \"$@\" 2>&1", Programs.path("starttlsd"), "check", "--allow-root",
        "--certificate", good.certificate, "--key", good.key, "--", "/bin/false",
      ], expecting: .exited(111))
    XCTAssertTrue(result.output.hasPrefix("listen on 127.0.0.1:2525\n"), result.output)
    XCTAssertTrue(result.output.hasSuffix("\nstarttlsd: /bin/false does not work: it ends without a greeting (exit code 1)\n"), result.output)
  }

  /// Files that only a start opens or creates.
  func testCheckFindsFoldersThatAStartCannotUse() throws {
    let folder = TestFolder()
    chmod(folder.path, 0o777)
    let recording = ["--trusting-backend", "--record", folder.path]
    XCTAssertTrue(try check("", recording, expecting: 100).errors.contains("--record \(folder.path): others can write to the folder"))
    chmod(folder.path, 0o700)
    let secrets = folder.path + "/secrets"
    let good = try check("", recording + ["--debug-keylog", secrets], expecting: 0).output
    XCTAssertTrue(good.contains("\nrecordings in \(folder.path)\n"), good)
    XCTAssertEqual(folder.names(in: ""), [])
    for (path, text) in [(folder.path + "/missing/secrets", "No such file or directory"), (secrets, "chmod 600")] {
      if path == secrets { chmod(try folder.write([], to: "secrets"), 0o644) }
      let result = try check("", ["--trusting-backend", "--debug-keylog", path], expecting: 100)
      XCTAssertTrue(result.errors.contains("--debug-keylog \(path): ") && result.errors.contains(text), result.errors)
    }
  }

  /// A rule that has no effect may be one that was to deny somebody.
  func testCheckWarnsOfAccessRules() throws {
    let folder = TestFolder()
    let rules = folder.path + "/rules.cdb"
    try run(["tcprules", rules, rules + ".tmp"], input: "192.0.2.0/24:deny\n:allow,RELAYCLIENT=\"\"\n")
    let output = try check("", ["--trusting-backend", "--access", rules], expecting: 0).output
    for text in ["1 rules match no client, the first one: '192.0.2.0/24'", "the rule for all other clients sets RELAYCLIENT: they may relay"] {
      XCTAssertTrue(output.contains("\nwarning: \(rules): \(text)"), output)
    }
  }

  /// The name of a command is one only as the first argument.
  func testAProgramMayHaveTheNameOfACommand() throws {
    let folder = TestFolder()
    let good = try certificate()
    let program = try folder.write(Array("#!/bin/sh\nexit 7\n".utf8), to: "check")
    chmod(program, 0o755)
    let result = try run(
      [Programs.path("starttlsd"), "--allow-root", "--certificate", good.certificate, "--key", good.key, "--", "check"],
      environment: ["PATH": folder.path + ":" + SpawnedProgram.path], expecting: .exited(111))
    XCTAssertTrue(result.errors.contains("check does not work"), result.errors)
    for name in ["check", "certificates"] {
      let help = try run([Programs.path("starttlsd"), name, "--help"])
      XCTAssertTrue(help.output.contains("USAGE: starttlsd \(name) "), help.output)
    }
    XCTAssertTrue(try run([Programs.path("starttlsd"), "--help"]).output.contains("starttlsd check OPTIONS"))
  }
}
