// TLSInfoFuzz: what a client chose about itself, on its way into an environment and into the log.
//
// The first octet says what the rest is: 0 the name in EHLO, the name in SNI, the text of a failure and the subject of a
// certificate, with NUL between them; 1 a certificate in DER; 2 the contents of a server_name extension.

import PropertyKit
@testable import Transport
@testable import TransportTLS

public enum TLSInfoFuzz {
  /// - Returns: whether the octets are one of these.
  public static func run(_ octets: [UInt8]) throws -> Bool {
    let rest = octets.dropFirst()
    switch octets.first {
    case 0:
      let texts = rest.split(separator: 0, maxSplits: 3, omittingEmptySubsequences: false).map(Array.init)
      func text(_ index: Int) -> [UInt8] { index < texts.count ? texts[index] : [] }
      try log(helo: text(0), serverName: text(1), failure: text(2))
      try report(serverName: text(1), subject: text(3))
    case 1: try certificate(Array(rest))
    case 2: try requestedName(Array(rest))
    default: return false
    }
    return true
  }

  // MARK: - The log

  /// One line of printable ASCII, with the fields that it should have and no others, in which each text can be read back.
  private static func log(helo: [UInt8], serverName: [UInt8], failure: [UInt8]) throws {
    var record = SessionRecord(startedAt: 0)
    record.heloName = Array(helo.prefix(255))
    record.tls = TLSFacts(version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256", serverName: name(serverName))
    let text = String(decoding: failure, as: UTF8.self)
    let line = SessionLine.text(peer: "192.0.2.1:25", local: nil, record: record, failure: text)
    let fields = try fields(Array(line.utf8))
    let sni = record.tls?.serverName == nil ? [] : ["sni"]
    let wanted =
      ["session", "peer", "helo", "decision", "tls", "cipher"] + sni
      + ["end", "failure", "in", "out", "clear", "total"]
    if fields.map(\.name) != wanted { throw Falsified("the fields \(fields.map(\.name)) in \(line)") }
    for (name, value) in fields {
      switch name {
      case "helo" where value != record.heloName, "failure" where value != Array(text.utf8),
        "sni" where value != record.tls?.serverName.map({ Array($0.utf8) }):
        throw Falsified("\(name) cannot be read back from \(line)")
      default: break
      }
    }
  }

  /// Words with blanks between them, `name` or `name=value`, a value in quotation marks with `\xNN` for what it must not hold.
  private static func fields(_ line: [UInt8]) throws -> [(name: String, value: [UInt8])] {
    var fields: [(String, [UInt8])] = []
    var rest = line[...]
    while !rest.isEmpty {
      let name = rest.prefix { $0 != UInt8(ascii: "=") && $0 != UInt8(ascii: " ") }
      rest = rest.dropFirst(name.count)
      var value: [UInt8] = []
      if rest.first == UInt8(ascii: "=") {
        rest.removeFirst()
        value = try rest.first == UInt8(ascii: "\"") ? unquoted(&rest) : plain(&rest)
      }
      fields.append((String(decoding: name, as: UTF8.self), value))
      guard rest.popFirst() ?? UInt8(ascii: " ") == UInt8(ascii: " ") else { throw Falsified("no blank after a field") }
    }
    return fields
  }

  private static func plain(_ rest: inout ArraySlice<UInt8>) throws -> [UInt8] {
    let value = rest.prefix { $0 != UInt8(ascii: " ") }
    rest = rest.dropFirst(value.count)
    guard value.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "\"") }) else { throw Falsified("a plain value") }
    return Array(value)
  }

  private static func unquoted(_ rest: inout ArraySlice<UInt8>) throws -> [UInt8] {
    var value: [UInt8] = []
    rest.removeFirst()
    while true {
      guard let octet = rest.popFirst() else { throw Falsified("a value without its end") }
      if octet == UInt8(ascii: "\"") { return value }
      guard (0x20..<0x7F).contains(octet) else { throw Falsified("octet \(octet) in a log line") }
      if octet == UInt8(ascii: "\\") {
        let digits = String(decoding: rest.dropFirst().prefix(2), as: UTF8.self)
        guard rest.first == UInt8(ascii: "x"), let code = UInt8(digits, radix: 16) else { throw Falsified("no escape") }
        rest = rest.dropFirst(3)
        value.append(code)
      } else {
        value.append(octet)
      }
    }
  }

  // MARK: - The environment

  /// What a helper reports is what is read, and no text makes another variable.
  private static func report(serverName: [UInt8], subject: [UInt8]) throws {
    var environment = UCSPIEnvironment()
    environment.append("SSL_TLS_SNI_SERVERNAME", name(serverName))
    environment.append("SSL_PEER_CERT_SUBJECT", String(decoding: subject, as: UTF8.self))
    var reader = UCSPIEnvironmentReader()
    guard let octets = environment.octets, case .complete(environment) = reader.receive(octets),
      environment.variables.allSatisfy(\.isImportable), environment.variables.count <= 2
    else { throw Falsified("reported otherwise: \(environment.variables)") }
  }

  /// A server's name as the TLS layer lets it through.
  private static func name(_ octets: [UInt8]) -> String? {
    let text = String(decoding: octets, as: UTF8.self)
    return isDNSName(text) ? text.lowercased() : nil
  }

  /// An unusable name is a part of what was sent, no DNS name, and can be read back from the log.
  private static func requestedName(_ contents: [UInt8]) throws {
    guard case .unusable(let octets, _) = contents.withUnsafeBufferPointer({ RequestedServerName($0) }) else { return }
    if octets.count > RequestedServerName.limit || octets.count < RequestedServerName.limit && name(octets) != nil {
      throw Falsified("the server name \(octets)")
    }
    var record = SessionRecord(startedAt: 0)
    record.tls = TLSFacts(version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256", ignoredServerName: octets)
    let line = SessionLine.text(peer: "192.0.2.1:25", local: nil, record: record, failure: nil)
    guard let field = try fields(Array(line.utf8)).first(where: { $0.name == "sni-ignored" }), field.value == octets else {
      throw Falsified("\(octets) cannot be read back from \(line)")
    }
  }

  private static func certificate(_ octets: [UInt8]) throws {
    guard let certificate = octets.withUnsafeBufferPointer({ ClientCertificate($0) }) else { return }
    let digits = Set("0123456789abcdef".utf8)
    if certificate.fingerprint.utf8.count != 64 || !certificate.fingerprint.utf8.allSatisfy(digits.contains) {
      throw Falsified("the fingerprint \(certificate.fingerprint)")
    }
    guard let subject = certificate.subject else { return }
    if subject.isEmpty || subject.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }) { throw Falsified("the subject \(subject)") }
    try report(serverName: [], subject: Array(subject.utf8))
  }
}
