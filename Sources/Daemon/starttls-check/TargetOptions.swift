// TargetOptions: what the user says about the server.

import ArgumentParser
import Glibc
import SMTPProbe
import Transport

struct TargetOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Host name for SNI and the certificate [the host, unless it is an address].", valueName: "name"))
  var name: String?

  @Option(help: ArgumentHelp("Argument of EHLO [the client's address].", valueName: "name"))
  var ehlo: String?

  @Option(help: ArgumentHelp("TLSA record that the certificate must match; may be repeated.", valueName: "3 1 1 hex"))
  var tlsa: [String] = []

  @Option(help: ArgumentHelp("User for checks of AUTH.", valueName: "name"))
  var user: String?

  @Option(help: ArgumentHelp("File with the user's password in its first line.", valueName: "file"))
  var passwordFile: String?

  @Flag(help: "Run the checks that make the server accept messages for the recipient.")
  var iOwnThisServer = false

  @Option(help: ArgumentHelp("Recipient of these messages.", valueName: "address"))
  var recipient: String?

  @Option(help: ArgumentHelp("Sender of these messages [empty].", valueName: "address"))
  var sender = ""

  /// Checks the options and resolves the host.
  func target(_ server: String) throws(CheckFailure) -> Target {
    let addresses: [SocketAddress]
    do {
      addresses = try SocketAddress.resolving(server)
    } catch {
      throw CheckFailure("\(error)", ExitCode.usage)
    }
    var target = Target(text: server, addresses: addresses)
    target.name = (name ?? TargetOptions.hostName(server)).map(TargetOptions.withoutRoot)
    target.client = ehlo
    target.values.marker = "starttls-check-\(UInt32.random(in: 1_000_000...9_999_999))"
    try addRecords(&target)
    try addCredentials(&target)
    guard iOwnThisServer == (recipient != nil) else {
      throw CheckFailure("--i-own-this-server and --recipient belong together", ExitCode.usage)
    }
    for text in [ehlo, name, recipient, sender].compactMap({ $0 }) where !text.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) {
      throw CheckFailure("a name or address has blanks or other octets that SMTP does not allow", ExitCode.usage)
    }
    if let recipient {
      target.needs.insert(.own)
      (target.values.recipient, target.values.sender) = (recipient, sender)
    }
    return target
  }

  private func addRecords(_ target: inout Target) throws(CheckFailure) {
    for text in tlsa {
      guard let record = TLSARecord(text) else {
        throw CheckFailure("--tlsa \(text): give usage, selector, matching type and hexadecimal data, such as \"3 1 1 ab12\"", ExitCode.usage)
      }
      target.tlsaRecords.append(record)
      target.needs.insert(.tlsa)
    }
  }

  private func addCredentials(_ target: inout Target) throws(CheckFailure) {
    guard user != nil || passwordFile != nil else { return }
    guard let user, let passwordFile else { throw CheckFailure("--user and --password-file belong together", ExitCode.usage) }
    guard let file = fopen(passwordFile, "re") else {
      throw CheckFailure("\(passwordFile): \(String(cString: strerror(errno)))", ExitCode.usage)
    }
    defer { fclose(file) }
    var buffer = [CChar](repeating: 0, count: 1024)
    guard fgets(&buffer, CInt(buffer.count), file) != nil else {
      throw CheckFailure("\(passwordFile): there is no password in its first line", ExitCode.usage)
    }
    let password = buffer.prefix { $0 != 0 && $0 != 10 && $0 != 13 }.map { UInt8(bitPattern: $0) }
    (target.values.password, target.values.encodedPassword) = (password, Base64.encoded(password))
    target.values.plain = Base64.encoded([0] + Array(user.utf8) + [0] + password)
    target.needs.insert(.credentials)
  }

  /// A name without the dot of the root, which neither SNI (RFC 6066, 3) nor a certificate has.
  private static func withoutRoot(_ name: String) -> String {
    name.hasSuffix(".") ? String(name.dropLast()) : name
  }

  /// The host of `host:port`; nil if it is an address.
  private static func hostName(_ server: String) -> String? {
    guard let colon = server.lastIndex(of: ":"), !server.hasPrefix("unix:") else { return nil }
    let host = String(server[..<colon].filter { $0 != "[" && $0 != "]" })
    guard !host.isEmpty, host != "*", SocketAddress(numeric: host, port: 0) == nil else { return nil }
    return host
  }
}

/// RFC 4648, 4.
enum Base64 {
  private static let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")

  static func encoded(_ octets: [UInt8]) -> String {
    var text = ""
    for start in stride(from: 0, to: octets.count, by: 3) {
      let group = octets[start..<min(start + 3, octets.count)]
      let bits = group.enumerated().reduce(0) { $0 | Int($1.element) << (16 - 8 * $1.offset) }
      for index in 0..<4 {
        text.append(index <= group.count ? digits[bits >> (18 - 6 * index) & 63] : "=")
      }
    }
    return text
  }
}
