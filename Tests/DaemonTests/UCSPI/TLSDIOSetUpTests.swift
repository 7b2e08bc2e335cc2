// TLSDIOSetUpTests: certificates, privileges, the handshake, and the exit code of everything that can be wrong there.

import CKernel
import Foundation
import Glibc
import XCTest

final class TLSDIOSetUpTests: UCSPITestCase {
  /// Before the handshake nothing is read from the client and nothing is sent to it.
  func testWrongConfigurationsEndBeforeAnyOctet() throws {
    let server = try credentials()
    let missing = folder.path + "/none.pem"
    let garbage = try folder.write(Array("no certificate\n".utf8), to: "garbage.pem")
    for (options, environment, code, text) in [
      ([], [:], 100, "CERTFILE is not set"),
      ([], ["CERTFILE": server["CERTFILE"]!], 100, "KEYFILE is not set"),
      ([], ["CERTFILE": missing, "KEYFILE": server["KEYFILE"]!], 96, "No such file or directory"),
      ([], ["CERTFILE": server["CERTFILE"]!, "KEYFILE": missing], 96, "No such file or directory"),
      ([], ["CERTFILE": server["CERTFILE"]!, "KEYFILE": try file("other.key")], 96, "is not the key of"),
      ([], ["CERTFILE": garbage, "KEYFILE": server["KEYFILE"]!], 96, "expected certificates in PEM"),
      ([], ["CERTFILE": server["CERTFILE"]!, "KEYFILE": garbage], 96, "expected an unencrypted private key"),
      (["-y"], server, 100, "neither CADIR nor CAFILE is set"),
      (["-Y"], server.merging(["CAFILE": garbage]) { $1 }, 96, "garbage.pem"),
      (["-k", "1"], server.merging(["KEYFILE:a.example": garbage]) { $1 }, 96, "CERTFILE:a.example is not"),
      (["-k", "1"], server.merging(["CERTFILE:a.example": garbage]) { $1 }, 96, "KEYFILE:a.example is not"),
      (["-k", "1"], server.merging(["OCSPFILE:a.example": garbage]) { $1 }, 96, "OCSPFILE:a.example is set and CERTFILE:a.example is not"),
      (["-k", "1"], server.merging(["KEYFILE:": garbage]) { $1 }, 96, "KEYFILE: has no name"),
      (
        ["-k", "1"], server.merging(["a", "A"].flatMap { [("KEYFILE:\($0)", garbage), ("CERTFILE:\($0)", garbage)] }) { $1 }, 96,
        "is set twice, in upper and lower case"
      ),
      (["--tls-profile", "priority=NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+PSK"], server, 100, "nothing usable is left"),
      (["-k", "2"], server, 96, "no certificate was given"),
      (["-K", "soon"], server, 100, "--handshake-timeout must be an unsigned integer"),
      (["-x"], server, 100, "-x is not an option"),
    ] as [([String], [String: String], CInt, String)] {
      let tunnel = try Tunnel(self, options, network: .tcp, environment: environment)
      tunnel.peer.output.write([0x16])
      XCTAssertEqual(tunnel.process.wait(), .exited(code), "\(text): \(tunnel.process.errors)")
      XCTAssertTrue(tunnel.process.errors.hasPrefix("tlsd-io: ") && tunnel.process.errors.contains(text), tunnel.process.errors)
      XCTAssertEqual(tunnel.process.errors.split(separator: "\n").count, 1)
      XCTAssertEqual(try tunnel.inherited[0].read(16), [0x16], "still there")
      XCTAssertEqual(try tunnel.control?.remainder(), [])
      XCTAssertEqual(try tunnel.reading.remainder(), [])
    }
  }

  /// A warning by name, for keys that are chosen by name too; the handshake goes on.
  func testAKeyThatOthersMayRead() throws {
    var environment = try credentials()
    environment["CERTFILE:other.example"] = try file("other.pem")
    let key = "\(folder.path)/open.key"
    try FileManager.default.copyItem(atPath: try file("other.key"), toPath: key)
    chmod(key, 0o640)
    environment["KEYFILE:other.example"] = key
    for verbosity in ["1", "0"] {
      let tunnel = try Tunnel(self, ["-k", "1", "-v", verbosity], environment: environment)
      try tunnel.peer.handshake()
      let warning = "tlsd-io: warning: \(key): others than its owner may read this key: chmod 600\n"
      XCTAssertEqual(tunnel.process.errors, verbosity == "1" ? warning : "")
    }
  }

  /// Another user's key, for a process without the rights of root.
  func testAnUnreadableKey() throws {
    try XCTSkipUnless(getuid() == 0, "only root can become another user")
    let (certificate, key) = (folder.path + "/one.pem", folder.path + "/one.key")
    try FileManager.default.copyItem(atPath: file("server.pem"), toPath: certificate)
    try FileManager.default.copyItem(atPath: file("server.key"), toPath: key)
    for (path, mode) in [(folder.path, 0o755), (certificate, 0o644), (key, 0o600)] as [(String, mode_t)] { chmod(path, mode) }
    let (input, output) = TestDescriptor.sockets()
    let process = try start(
      ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", try Programs.path("tlsd-io"), "5", "5"], [0: input, 1: input, 5: output],
      ["CERTFILE": certificate, "KEYFILE": key])
    XCTAssertEqual(process.wait(), .exited(96))
    XCTAssertEqual(process.errors, "tlsd-io: \(key): open: Permission denied: check that the file exists and that this user may read it\n")
  }

  func testWrongDescriptors() throws {
    let (input, output) = TestDescriptor.sockets()
    for (operands, descriptors, code) in [
      ([], [0: input, 1: input], 100), (["5"], [0: input, 1: input], 100), (["0", "1"], [0: input, 1: input], 100),
      (["5", "x"], [0: input, 1: input], 100), (["5", "6"], [0: input, 1: input], 111),
      (["-d", "9", "5", "5"], [0: input, 1: input, 5: output], 111), (["5", "5"], [1: input, 5: output], 111),
    ] as [([String], [CInt: TestDescriptor], CInt)] {
      let process = try start([try Programs.path("tlsd-io")] + operands, descriptors, credentials())
      XCTAssertEqual(process.wait(), .exited(code), "\(operands): \(process.errors)")
    }
  }

  /// One number for two or all three of the channels, as UCSPI-TLS allows.
  func testOneSocketAsAllThreeChannels() throws {
    let network = TestDescriptor.sockets()
    let channel = TestDescriptor.sockets()
    let process = try start(
      [try Programs.path("tlsd-io"), "-d", "5", "5", "5"], [0: network.1, 1: network.1, 5: channel.1], credentials())
    network.1.close()
    channel.1.close()
    let peer = TLSPeer(network.0, network.0, try engine)
    try peer.handshake()
    let report = try channel.0.read()
    XCTAssertEqual(report.suffix(2), [0, 0])
    try peer.send("up")
    XCTAssertEqual(try channel.0.read(), Array("up".utf8))
    channel.0.write(Array("down".utf8))
    shutdown(channel.0.number, CInt(SHUT_WR))
    XCTAssertEqual(try peer.remainder(), Array("down".utf8))
    try peer.endSending()
    XCTAssertEqual(try channel.0.remainder(), [])
    XCTAssertEqual(process.wait(), .exited(0), process.errors)
  }

  func testAFailedHandshakeClosesTheChannelsWithoutAnOctet() throws {
    let hellos: [(String, [UInt8])] = [
      ("garbage", Array("EHLO here, in clear\r\n".utf8)), ("nothing", []),
      ("half a record", [0x16, 3, 1, 2, 0, 1]),
    ]
    for (what, octets) in hellos {
      let tunnel = try Tunnel(self, network: .tcp)
      tunnel.peer.output.write(octets)
      shutdown(tunnel.peer.output.number, CInt(SHUT_WR))
      XCTAssertEqual(try tunnel.control?.remainder(), [], what)
      XCTAssertEqual(try tunnel.reading.remainder(), [], what)
      XCTAssertEqual(tunnel.process.wait(), .exited(98), what)
      XCTAssertTrue(tunnel.process.errors.hasPrefix("tlsd-io: TLS handshake: "), tunnel.process.errors)
      XCTAssertFalse(tunnel.writing.write([1]), "the channel is closed")
    }
    let quiet = try Tunnel(self, ["-v", "0"], network: .tcp)
    quiet.peer.output.write([1, 2, 3, 4, 5, 6])
    quiet.peer.output.close()
    XCTAssertEqual(quiet.process.wait(), .exited(98))
    XCTAssertEqual(quiet.process.errors, "")
  }

  /// The alert arrives although the client goes on sending.
  func testAnAlertSaysWhatWasWrong() throws {
    let tunnel = try Tunnel(self, network: .tcp)
    tunnel.forgetInherited()
    let sender = tunnel.peer.output
    sender.write([0x16, 3, 1, 0, 4, 1, 2, 3, 4])
    sender.write(noise(60_000, seed: 1))
    XCTAssertEqual(try tunnel.peer.input.read(1), [0x15], "an alert")
  }

  func testTheHandshakesLimit() throws {
    let tunnel = try Tunnel(self, ["-K", "300"])
    let start = Date()
    XCTAssertEqual(try tunnel.control?.remainder(), [])
    XCTAssertLessThan(Date().timeIntervalSince(start), Deadline.seconds)
    tunnel.peer.input.close()
    XCTAssertEqual(tunnel.process.wait(), .exited(98))
    XCTAssertEqual(tunnel.process.errors, "tlsd-io: TLS handshake: timed out after 300 ms\n")
  }

  /// The limit is for the whole handshake: octets that come now and then do not extend it.
  func testAHandshakeThatDripsEndsAsWell() throws {
    let tunnel = try Tunnel(self, ["-K", "1000"], network: .tcp)
    tunnel.forgetInherited()
    var hello: [UInt8] = [0x16, 3, 1, 1, 0, 1, 0, 0, 0xfc, 3, 3] + [UInt8](repeating: 7, count: 50)
    // The end of the session is the end of its channels; the alert is left to the client for a while longer.
    var channel = pollfd(fd: try XCTUnwrap(tunnel.control).number, events: CShort(POLLIN), revents: 0)
    while !hello.isEmpty, poll(&channel, 1, 100) == 0 { tunnel.peer.output.write([hello.removeFirst()]) }
    XCTAssertGreaterThan(hello.count, 0, "the end comes while it drips")
    XCTAssertEqual(try tunnel.control?.remainder(), [])
    tunnel.peer.output.close()
    XCTAssertEqual(tunnel.process.wait(), .exited(98))
    XCTAssertEqual(tunnel.process.errors, "tlsd-io: TLS handshake: timed out after 1000 ms\n")
  }

  // MARK: Names

  func testTheCertificateOfTheName() throws {
    let named = [
      "CERTFILE:other.example": try file("other.pem"), "KEYFILE:other.example": try file("other.key"),
      "CERTFILE:*.wild.example": try file("rsa.pem"), "KEYFILE:*.wild.example": try file("rsa.key"),
    ]
    let all = try credentials().merging(named) { $1 }
    for (level, name, expected) in [
      ("0", "other.example", "server"), ("1", "other.example", "other"), ("1", "OTHER.example", "other"),
      ("1", "a.wild.example", "rsa"), ("1", "a.b.wild.example", "server"), ("1", "", "server"), ("1", "x.example", "server"),
      ("2", "other.example", "other"), ("2", "x.example", nil), ("2", "", nil),
    ] as [(String, String, String?)] {
      for version in ["-tls1_2", "-tls1_3"] {
        let subject = try subject(["-k", level], all, name: name, version: version)
        XCTAssertEqual(subject, expected.map { "CN = \($0).example" } ?? "", "-k \(level) \(name) \(version)")
      }
    }
  }

  /// The subject that openssl s_client is shown; empty without a handshake.
  private func subject(_ options: [String], _ environment: [String: String], name: String, version: String) throws -> String {
    let output = try client(options, environment, (name.isEmpty ? ["-noservername"] : ["-servername", name]) + [version]).output
    let line = output.split(separator: "\n").first { $0.hasPrefix("subject=") }
    return line.map { String($0.dropFirst("subject=".count)) } ?? ""
  }

  // MARK: Client certificates

  func testClientCertificates() throws {
    let other = ["-cert", try file("other.pem"), "-key", try file("other.key")]
    let stranger = ["-cert", try file("rsa.pem"), "-key", try file("rsa.key")]
    let trusting = try credentials().merging(["CAFILE": file("other.pem")]) { $1 }
    for version in ["-tls1_2", "-tls1_3"] {
      for (option, with, code) in [
        ("-Y", [], 0), ("-Y", other, 0), ("-Y", stranger, 98), ("-y", [], 98), ("-y", other, 0), ("-y", stranger, 98),
      ] as [(String, [String], CInt)] {
        let session = try client([option], trusting, with + [version])
        XCTAssertEqual(session.end, .exited(code), "\(option) \(with) \(version): \(session.errors)")
        let strings = session.report.split(separator: "\0")
        if code != 0 {
          XCTAssertEqual(strings, [])
        } else if with.isEmpty {
          XCTAssertEqual(strings.suffix(2), ["SSL_PEER_CERT_HASH", "SSL_PEER_CERT_SUBJECT"])
        } else {
          XCTAssertEqual(strings.last, "SSL_PEER_CERT_SUBJECT=CN=other.example")
          let hash = strings.dropLast().last ?? ""
          XCTAssertTrue(hash.hasPrefix("SSL_PEER_CERT_HASH=SHA256:") && hash.utf8.count == 26 + 64, "\(hash)")
        }
      }
    }
  }

  /// The fields of starttlsd's line: escaped, without control characters, and no subject that is longer than 512 octets.
  func testTheCertificateOfAClientIsLogged() throws {
    let parts = String(repeating: "/OU=" + String(repeating: "u", count: 60), count: 9)
    for (name, subject, logged) in [
      ("plain", "/CN=plain.example", "CN=plain.example"), ("quoting", "/CN=a\"b é", "CN=a\\x5C\\x22b \\xC3\\xA9"), ("line", "/CN=a\nb", nil),
      ("long", "/CN=long.example" + parts, nil),
    ] as [(String, String, String?)] {
      let (certificate, key) = ("\(folder.path)/\(name).pem", "\(folder.path)/\(name).key")
      try openssl(
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-utf8", "-subj", subject, "-keyout", key,
          "-out", certificate])
      let digest = try fingerprint(certificate)
      let trusting = try credentials().merging(["CAFILE": certificate]) { $1 }
      for (option, with, fields) in [
        ("-y", ["-cert", certificate, "-key", key], "success client-hash=SHA256:\(digest)" + (logged.map { " client-subject=\"\($0)\"" } ?? "")),
        ("-Y", [], "none"),
      ] {
        let session = try client([option, "-v", "2"], trusting, with)
        XCTAssertEqual(session.end, .exited(0), session.errors)
        let lines = session.errors.split(separator: "\n")
        XCTAssertEqual(lines.count, 1, session.errors)
        XCTAssertTrue(lines.first?.hasPrefix("tlsd-io: TLSv1.3 ") ?? false, session.errors)
        XCTAssertTrue(lines.first?.hasSuffix(", client-verify=\(fields)") ?? false, session.errors)
      }
      XCTAssertEqual(try client(["-y"], trusting, ["-cert", certificate, "-key", key]).errors, "")
      XCTAssertFalse(try client(["-v", "2"], trusting, []).errors.contains("client-"))
    }
  }

  /// SHA-256 of a certificate, in lower-case hexadecimal digits.
  private func fingerprint(_ certificate: String) throws -> String {
    let der = folder.path + "/der"
    try openssl(["x509", "-in", certificate, "-outform", "DER", "-out", der])
    try openssl(["dgst", "-sha256", "-r", "-out", der + ".digest", der])
    return String(folder.text("der.digest").prefix(64))
  }

  /// As s6-tlsd-io has it: one certificate a file, in PEM or DER. Other files are ignored.
  func testAFolderOfIssuers() throws {
    let issuers = folder.path + "/issuers"
    try FileManager.default.createDirectory(atPath: issuers, withIntermediateDirectories: true)
    try folder.write(Array("no certificate\n".utf8), to: "issuers/README")
    let environment = try credentials().merging(["CADIR": issuers]) { $1 }
    let tunnel = try Tunnel(self, ["-y"], environment: environment)
    XCTAssertEqual(tunnel.process.wait(), .exited(96))
    XCTAssertTrue(tunnel.process.errors.contains("\(issuers): no certificate found"), tunnel.process.errors)
    try openssl(["x509", "-in", file("other.pem"), "-outform", "DER", "-out", issuers + "/one.der"])
    try openssl(["x509", "-in", file("rsa.pem"), "-out", issuers + "/two.pem"])
    for (name, code) in [("other", 0), ("rsa", 0), ("server", 98)] as [(String, CInt)] {
      let session = try client(["-y"], environment, ["-cert", file("\(name).pem"), "-key", file("\(name).key")])
      XCTAssertEqual(session.end, .exited(code), "\(name): \(session.errors)")
    }
  }

  /// A list of revoked certificates refuses one that would be good; a text that is no list is a configuration error.
  func testRevokedClientCertificates() throws {
    let other = ["-cert", try file("other.pem"), "-key", try file("other.key")]
    let path = folder.path
    try makeRevocationLists()
    let trusting = try credentials().merging(["CAFILE": file("other.pem")]) { $1 }
    for version in ["-tls1_2", "-tls1_3"] {
      for (list, code) in [("empty.crl", 0), ("revoked.crl", 98)] as [(String, CInt)] {
        let session = try client(["-y"], trusting.merging(["CRLFILE": "\(path)/\(list)"]) { $1 }, other + [version])
        XCTAssertEqual(session.end, .exited(code), "\(list) \(version): \(session.errors)")
        if code != 0 { XCTAssertTrue(session.errors.contains("certificate is not accepted: revoked"), session.errors) }
      }
    }
    let tunnel = try Tunnel(self, ["-y"], environment: trusting.merging(["CRLFILE": file("other.key")]) { $1 })
    XCTAssertEqual(tunnel.process.wait(), .exited(96))
    XCTAssertTrue(tunnel.process.errors.contains("expected revocation lists"), tunnel.process.errors)
  }

  /// Each certificate is sent with its own response. One that cannot be used is not sent, and the session goes on.
  func testOCSPResponses() throws {
    let path = folder.path
    try makeCertificatesWithResponses()
    let environment = [
      "CERTFILE": path + "/one.chain", "KEYFILE": path + "/one.key", "CERTFILE:Two.example": path + "/two.chain", "KEYFILE:Two.example": path + "/two.key",
    ]
    let both = environment.merging(["OCSPFILE": path + "/one.ocsp", "OCSPFILE:Two.example": path + "/two.ocsp"]) { $1 }
    for version in ["-tls1_2", "-tls1_3"] {
      for (name, options) in [("one.example", []), ("two.example", ["-k", "1"]), ("two.example", ["-k", "2"])] as [(String, [String])] {
        let session = try client(options, both, ["-status", "-servername", name, version])
        XCTAssertTrue(session.output.contains("subject=CN = \(options.isEmpty ? "one.example" : name)"), session.output)
        XCTAssertTrue(session.output.contains("Cert Status: good"), session.output)
        XCTAssertEqual(session.errors, "")
      }
    }
    for (file, text) in [
      (path + "/nowhere", "warning: \(path)/nowhere: this OCSP response is not sent: open: No such file"),
      (path + "/two.ocsp", "warning: \(path)/two.ocsp: this OCSP response is for none of the certificates and is not sent"),
      (path + "/one.key", "warning: \(path)/one.key: this OCSP response is not sent"),
    ] {
      let session = try client([], environment.merging(["OCSPFILE": file]) { $1 }, ["-status"])
      XCTAssertEqual(session.end, .exited(0), session.errors)
      XCTAssertTrue(session.output.contains("OCSP response: no response sent"), session.output)
      XCTAssertTrue(session.errors.contains(text), session.errors)
    }
  }

  private func client(
    _ options: [String], _ environment: [String: String], _ clientOptions: [String]
  ) throws -> (output: String, report: String, end: SpawnedProgram.End?, errors: String) {
    let clear = TestDescriptor.pipe()
    let deciphered = TestDescriptor.pipe()
    let control = TestDescriptor.sockets()
    let listener = try TestListener()
    let output = folder.path + "/client"
    let openssl = try SpawnedProgram(
      ["openssl", "s_client", "-connect", "127.0.0.1:\(listener.port)"] + clientOptions, output: .file(output))
    let server = try listener.accept()
    let process = try start(
      [try Programs.path("tlsd-io")] + options + ["-d", "7", "5", "6"],
      [0: server, 1: server, 5: clear.reading, 6: deciphered.writing, 7: control.1], environment)
    for one in [server, clear.reading, deciphered.writing, control.1] { one.close() }
    let report = String(decoding: try control.0.remainder(), as: UTF8.self)
    // The server program ends at once, so the session does.
    clear.writing.close()
    _ = try deciphered.reading.remainder()
    _ = openssl.wait()
    defer { unlink(output) }
    return (folder.text("client"), report, process.wait(), process.errors)
  }

  // MARK: Privileges

  func testPrivilegesAreGivenUpOnceTheKeyIsRead() throws {
    try XCTSkipUnless(getuid() == 0, "only root has any")
    chmod(try file("server.key"), 0o600)
    let environment = try credentials().merging(["TLS_UID": "65534", "TLS_GID": "65533"]) { $1 }
    let tunnel = try Tunnel(self, environment: environment)
    try tunnel.peer.handshake()
    let status = try String(contentsOfFile: "/proc/\(tunnel.process.process)/status", encoding: .utf8)
    let lines = status.split(separator: "\n")
    XCTAssertTrue(lines.contains("Uid:\t65534\t65534\t65534\t65534"), status)
    XCTAssertTrue(lines.contains("Gid:\t65533\t65533\t65533\t65533"), status)
    XCTAssertTrue(lines.contains { $0.hasPrefix("Groups:") && $0.dropFirst(7).allSatisfy(\.isWhitespace) }, status)
    XCTAssertTrue(lines.contains("CapEff:\t0000000000000000"), status)
    XCTAssertTrue(lines.contains("NoNewPrivs:\t1"), status)
    let wrong = try Tunnel(self, environment: try credentials().merging(["TLS_UID": "nobody"]) { $1 })
    XCTAssertEqual(wrong.process.wait(), .exited(100))
    XCTAssertEqual(wrong.process.errors, "tlsd-io: TLS_UID: not a number\n")
  }

  func testAnExpiredCertificateIsUsedWithAWarning() throws {
    try openssl([
      "x509", "-in", file("server.pem"), "-signkey", file("server.key"), "-days", "-1", "-out", folder.path + "/expired.pem",
    ])
    let environment = ["CERTFILE": folder.path + "/expired.pem", "KEYFILE": try file("server.key")]
    let tunnel = try Tunnel(self, environment: environment)
    try tunnel.peer.handshake()
    let date = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
    let expected = "^tlsd-io: warning: \(folder.path)/expired.pem: expired on \(date): renew the certificate\n$"
    XCTAssertNotNil(tunnel.process.errors.range(of: expected, options: .regularExpression), tunnel.process.errors)
    // The file of the one that has expired, and of no other.
    let named = try credentials().merging(["CERTFILE:other.example": environment["CERTFILE"]!, "KEYFILE:other.example": environment["KEYFILE"]!]) { $1 }
    let two = try Tunnel(self, ["-k", "1"], environment: named)
    try two.peer.handshake()
    XCTAssertNotNil(two.process.errors.range(of: expected, options: .regularExpression), two.process.errors)
  }
}
