// OCSPTests: a response is sent only if it is good, and with the certificate that it is about.

import Foundation
import Glibc
import XCTest

final class OCSPTests: StarttlsdTestCase {
  private let folder = TestFolder()

  /// The responses of an issuer about a certificate.
  private enum Answer: Hashable {
    case good, revoked
    /// It ends after so many seconds, or has ended.
    case ending(Int)
  }

  private func makeIssuer(_ name: String = "ca") throws { try make(name, names: [], in: folder.path, subject: "/CN=\(name)") }

  /// A chain that `issuer` has signed.
  private func makeChain(_ name: String, _ options: [String] = [], issuer: String = "ca") throws -> Certificate {
    let made = try make(name, names: ["\(name).example"], in: folder.path, issuer: issuer, ["-days", "30"] + options)
    try folder.write(folder.contents("\(name).pem") + folder.contents("\(issuer).pem"), to: "\(name).chain")
    return Certificate(certificate: "\(folder.path)/\(name).chain", key: made.key)
  }

  private func respond(_ name: String, _ answer: Answer = .good, signer: String = "ca", to file: String? = nil) throws -> String {
    let path = folder.path
    let serial = try run(["openssl", "x509", "-in", "\(path)/\(name).pem", "-noout", "-serial"]).output
      .trimmingCharacters(in: .newlines).replacingOccurrences(of: "serial=", with: "")
    let (state, date) = answer == .revoked ? ("R", "250101000000Z") : ("V", "")
    try folder.write(Array("\(state)\t351231000000Z\t\(date)\t\(serial)\tunknown\t/CN=\(name)\n".utf8), to: "index")
    try folder.write(Array("unique_subject = no\n".utf8), to: "index.attr")
    let response = file ?? "\(path)/\(name).ocsp"
    try run(["openssl", "ocsp", "-issuer", "\(path)/ca.pem", "-cert", "\(path)/\(name).pem", "-no_nonce", "-reqout", "\(path)/request"])
    var (clock, validity): ([String], [String]) = ([], ["-ndays", "7"])
    if case .ending(let seconds) = answer { (clock, validity) = (["faketime", "-f", "\(seconds - 60)s"], ["-nmin", "1"]) }
    let command = ["openssl", "ocsp", "-index", "\(path)/index", "-rsigner", "\(path)/\(signer).pem", "-rkey", "\(path)/\(signer).key", "-CA",
      "\(path)/ca.pem", "-reqin", "\(path)/request", "-respout", response]
    try run(clock + command + validity)
    return response
  }

  private func options(_ made: Certificate) -> [String] { ["--certificate", made.certificate, "--key", made.key] }

  private func isStapled(_ daemon: RunningDaemon, _ name: String, _ versions: [String] = ["-tls1_2", "-tls1_3"]) throws -> Bool {
    var answers: Set<Bool> = []
    for version in versions {
      let shown = try shown(by: daemon, [version, "-status", "-servername", name])
      XCTAssertTrue(shown.contains("OCSP response: no response sent") || shown.contains("Cert Status: good"), shown)
      answers.insert(shown.contains("Cert Status: good"))
    }
    XCTAssertEqual(answers.count, 1)
    return answers.contains(true)
  }

  func testEachCertificateHasItsOwnResponse() throws {
    try makeIssuer()
    let (one, two, three) = (try makeChain("one"), try makeChain("two"), try makeChain("three"))
    let responses = try [respond("two"), respond("one")].flatMap { ["--ocsp-response", $0] }
    let daemon = try daemon(options(two) + options(three) + responses, certificate: one)
    XCTAssertTrue(try isStapled(daemon, "one.example"))
    XCTAssertTrue(try isStapled(daemon, "two.example"))
    XCTAssertFalse(try isStapled(daemon, "three.example"))
    XCTAssertFalse(daemon.log.contains("warning"), daemon.log)
    let list = try run([Programs.path("starttlsd"), "certificates"] + options(one) + responses).output
    XCTAssertTrue(list.contains("  OCSP response: \(folder.path)/one.ocsp\n"), list)
  }

  func testAResponseThatIsNotGoodIsNotSent() throws {
    try makeIssuer()
    try makeIssuer("other")
    let one = try makeChain("one")
    _ = try makeChain("two")
    let path = folder.path + "/one.ocsp"
    for (make, text) in [
      ({ try self.respond("one", .ending(-10)) }, "\(path): this OCSP response is not sent: it expired on 20"),
      ({ try self.respond("one", signer: "other") }, "\(path): this OCSP response is not sent: it is not signed by the issuer"),
      ({ try self.respond("one", .revoked) }, "\(path): this OCSP response is not sent: the certificate was revoked on 2025-01-01: fetch"),
      ({ try self.respond("two", to: path) }, "\(path): this OCSP response is for none of the certificates and is not sent"),
    ] as [(() throws -> String, String)] {
      let daemon = try daemon(["--ocsp-response", try make()], certificate: one)
      XCTAssertTrue(daemon.log.contains(text), daemon.log)
      XCTAssertFalse(try isStapled(daemon, "one.example"))
    }
  }

  /// Without the issuer nobody can say who signed the response.
  func testAResponseWithoutTheIssuerIsNotSent() throws {
    try makeIssuer()
    let one = try makeChain("one")
    let alone = Certificate(certificate: folder.path + "/one.pem", key: one.key)
    let response = try respond("one")
    let daemon = try daemon(["--ocsp-response", response], certificate: alone)
    XCTAssertTrue(
      daemon.log.contains("\(response): this OCSP response is not sent: its issuer is not in the file of the certificate"), daemon.log)
    XCTAssertFalse(try isStapled(daemon, "one.example"))
  }

  /// What a responder sent must not prevent the start: "try later" (RFC 6960, 4.2.1), and what is no response.
  func testAnErrorOfTheResponderIsAWarning() throws {
    let path = folder.path + "/response"
    for octets in [[0x30, 3, 0x0A, 1, 3], Array("<html>".utf8)] as [[UInt8]] {
      try folder.write(octets, to: "response")
      let daemon = try daemon(["--ocsp-response", path])
      XCTAssertTrue(daemon.log.contains("warning starttlsd: \(path): this OCSP response is not sent: "), daemon.log)
      XCTAssertFalse(try isStapled(daemon, "mx.example"))
    }
  }

  /// One folder whose response is missing does not prevent the others.
  func testMustStapleInAFolder() throws {
    try makeIssuer()
    let one = try makeChain("one", ["-addext", "tlsfeature=status_request"])
    let fallback = try makeChain("two")
    let live = folder.path + "/live"
    try run(["mkdir", "-p", live + "/one"])
    try run(["cp", one.certificate, live + "/one/fullchain.pem"])
    try run(["cp", one.key, live + "/one/privkey.pem"])
    let daemon = try daemon(["--certificate-folder", live], certificate: fallback)
    XCTAssertTrue(daemon.log.contains("\(live)/one/fullchain.pem requires an OCSP response (must-staple)"), daemon.log)
    XCTAssertEqual(try commonName(of: daemon, ["-servername", "one.example"]), "two")
    _ = try respond("one", to: live + "/one/ocsp.der")
    XCTAssertTrue(try eventually { try commonName(of: daemon, ["-servername", "one.example"]) == "one" }, daemon.log)
    XCTAssertTrue(try isStapled(daemon, "one.example"))
  }

  func testAResponseThatEndsIsNoLongerSent() throws {
    try makeIssuer()
    let one = try makeChain("one")
    // With more time if the machine was too slow to see it before its end: one that is never sent is never seen.
    var seen: RunningDaemon?
    for time in [6, 12, 24, 48] where seen == nil {
      let daemon = try daemon(["--ocsp-response", try respond("one", .ending(time))], certificate: one)
      if try isStapled(daemon, "one.example", ["-tls1_3"]) { seen = daemon }
    }
    let daemon = try XCTUnwrap(seen)
    XCTAssertTrue(try eventually(within: 3 * Deadline.seconds) { try !isStapled(daemon, "one.example", ["-tls1_3"]) })
    XCTAssertFalse(try isStapled(daemon, "one.example", ["-tls1_2"]))
  }

  func testMustStaple() throws {
    try makeIssuer()
    let one = try makeChain("one", ["-addext", "tlsfeature=status_request"])
    func start(_ options: [String]) throws -> String {
      try run([Programs.path("starttlsd"), "--allow-root"] + self.options(one) + options + ["--", "/bin/cat"], expecting: .exited(100)).errors
    }
    let needed = "\(one.certificate) requires an OCSP response (must-staple): "
    XCTAssertTrue(try start([]).contains(needed + "name a file with --ocsp-response"))
    let response = try respond("one", .revoked)
    XCTAssertTrue(try start(["--ocsp-response", response]).contains(needed + "the one that was given is not usable: the certificate was revoked"))
    _ = try respond("one")
    let daemon = try daemon(["--ocsp-response", response], certificate: one)
    XCTAssertTrue(try isStapled(daemon, "one.example"))
    // A response that cannot be used keeps the set, with the good one.
    XCTAssertEqual(rename(try respond("one", .revoked, to: folder.path + "/new"), response), 0)
    XCTAssertTrue(eventually { daemon.log.contains("stay as they were: " + needed) }, daemon.log)
    XCTAssertTrue(try isStapled(daemon, "one.example"))
    XCTAssertEqual(rename(try respond("one", to: folder.path + "/new"), response), 0)
    XCTAssertTrue(eventually { daemon.log.contains("the certificates are loaded again") }, daemon.log)
    XCTAssertTrue(try isStapled(daemon, "one.example"))
  }
}
