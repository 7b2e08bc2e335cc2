// TestCertificates: certificates of every kind, made with openssl in a folder of a test.

import Foundation
import Glibc
import XCTest

/// What kind of key a certificate has.
enum KeyKind: String, CaseIterable {
  case rsa, ecdsa, ed25519

  /// The options of `openssl req`.
  var options: [String] {
    switch self {
    case .rsa: ["-newkey", "rsa:2048"]
    case .ecdsa: ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    case .ed25519: ["-newkey", "ed25519"]
    }
  }
}

extension StarttlsdTestCase {
  /// A self-signed certificate, or one that `issuer` signs. The files are `name.pem` and `name.key`.
  ///
  /// - Parameters:
  ///   - names: the DNS names in it.
  ///   - options: further ones of `openssl req`.
  @discardableResult
  func make(
    _ name: String, _ kind: KeyKind = .ecdsa, names: [String] = ["mx.example"], in folder: String, subject: String? = nil,
    issuer: String? = nil, _ options: [String] = ["-days", "30"]
  ) throws -> Certificate {
    let made = Certificate(certificate: "\(folder)/\(name).pem", key: "\(folder)/\(name).key")
    let alternatives = names.isEmpty ? [] : ["-addext", "subjectAltName=" + names.map { "DNS:\($0)" }.joined(separator: ",")]
    let signed = issuer.map { ["-CA", "\(folder)/\($0).pem", "-CAkey", "\(folder)/\($0).key", "-addext", "basicConstraints=critical,CA:FALSE"] } ?? []
    try run(
      ["openssl", "req", "-x509", "-nodes", "-subj", subject ?? "/CN=\(name)", "-keyout", made.key, "-out", made.certificate]
        + kind.options + alternatives + signed + options)
    return made
  }

  /// Signs a certificate again, so that it expired a day ago.
  func expire(_ made: Certificate) throws {
    try run(["openssl", "x509", "-in", made.certificate, "-signkey", made.key, "-days", "-1", "-out", made.certificate + ".new"])
    guard rename(made.certificate + ".new", made.certificate) == 0 else { throw Failure("rename") }
  }

  /// What `openssl s_client` prints in a session with STARTTLS, which the server ends: a line that begins with a capital
  /// Q would end the client at once.
  func shown(
    by daemon: RunningDaemon, _ options: [String] = [], input: String = "quit\r\n", inputEnds: Bool = false,
    expecting end: SpawnedProgram.End? = .exited(0)
  ) throws -> String {
    let result = try run(
      ["openssl", "s_client", "-starttls", "smtp", "-connect", "127.0.0.1:\(daemon.port)"] + options, input: input, inputEnds: inputEnds,
      expecting: end)
    return result.output + result.errors
  }

  /// The common name of the certificate that a client gets; nil without a handshake.
  func commonName(of daemon: RunningDaemon, _ options: [String]) throws -> String? {
    let line = try shown(by: daemon, options, expecting: nil).split(separator: "\n").first { $0.hasPrefix("subject=") }
    return line.flatMap { $0.components(separatedBy: "CN = ").last }
  }
}
