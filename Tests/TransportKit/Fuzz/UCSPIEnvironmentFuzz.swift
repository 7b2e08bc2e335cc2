// UCSPIEnvironmentFuzz: what a UCSPI-TLS helper sends, in any pieces, must be read as its format is defined.
//
// The first octet holds options: 0-63 the size of a piece, 0 for all at once; 64 also through a `UCSPIStream` over a real
// control socket; 128 is unused and must be zero. The rest is what the helper sends.

import PropertyKit
import Transport

public enum UCSPIEnvironmentFuzz {
  /// - Returns: whether the octets have options that mean something.
  public static func run(_ octets: [UInt8]) throws -> Bool {
    guard let options = octets.first, options < 128 else { return false }
    let sent = Array(octets.dropFirst())
    let wanted = described(sent)
    let progress = read(sent, piece: Int(options & 63))
    if progress != wanted { throw Falsified("read as \(progress), not as \(wanted)") }
    if case .complete(let environment) = progress { try check(environment) }
    if options & 64 != 0 { try throughAStream(sent, wanted) }
    return true
  }

  private static func read(_ octets: [UInt8], piece: Int) -> UCSPIEnvironmentReader.Progress {
    var reader = UCSPIEnvironmentReader()
    var progress = UCSPIEnvironmentReader.Progress.incomplete
    var rest = octets[...]
    while !rest.isEmpty {
      let count = piece == 0 ? rest.count : min(piece, rest.count)
      progress = reader.receive(rest.prefix(count))
      rest = rest.dropFirst(count)
    }
    return progress
  }

  /// The same once more, over the whole: strings that a NUL ends, up to an empty one; two NULs where there is no string.
  private static func described(_ octets: [UInt8]) -> UCSPIEnvironmentReader.Progress {
    if octets.first == 0 {
      guard octets.count > 1 else { return .incomplete }
      return octets[1] == 0 ? .complete(UCSPIEnvironment()) : .refused
    }
    var environment = UCSPIEnvironment()
    var count = 0
    // What follows the last NUL is a string that has not ended yet.
    for string in octets.split(separator: 0, omittingEmptySubsequences: false).dropLast() {
      count += string.count + 1
      if count > UCSPIEnvironment.sizeLimit { return .refused }
      if string.isEmpty { return .complete(environment) }
      let name = string.prefix { $0 != UInt8(ascii: "=") }
      if name.isEmpty { return .refused }
      let value = name.count == string.count ? nil : String(decoding: string.dropFirst(name.count + 1), as: UTF8.self)
      environment.append(String(decoding: name, as: UTF8.self), value)
    }
    return octets.count > UCSPIEnvironment.sizeLimit ? .refused : .incomplete
  }

  /// What was read can be written again, and only names of TLS get into a program's environment.
  private static func check(_ environment: UCSPIEnvironment) throws {
    for variable in environment.variables where variable.isImportable {
      let isOfTLS = ["SSL_", "TLS_"].contains(where: variable.name.hasPrefix)
      if !isOfTLS || ["TLS_UID", "TLS_GID"].contains(variable.name) || variable.name.contains(where: { !isPlain($0) }) {
        throw Falsified("imported: \(variable)")
      }
    }
    // Octets that are no UTF-8 were replaced, and the replacements are longer.
    guard let octets = environment.octets else { return }
    if read(octets, piece: 1) != .complete(environment) { throw Falsified("sent again: \(octets)") }
  }

  private static func isPlain(_ character: Character) -> Bool {
    character == "_" || (character.isASCII && (character.isUppercase || character.isNumber))
  }

  private static func isWord(_ character: Character) -> Bool {
    character.isASCII && (character.isLetter || character.isNumber || "._-".contains(character))
  }

  private static func throughAStream(_ octets: [UInt8], _ wanted: UCSPIEnvironmentReader.Progress) throws {
    let control = try DescriptorPair.sockets()
    let data = try DescriptorPair.sockets()
    let numbers = [
      "SSLCTLFD": try Kernel.duplicate(control.first.number, above: 3),
      "SSLREADFD": try Kernel.duplicate(data.first.number, above: 3),
      "SSLWRITEFD": try Kernel.duplicate(data.first.number, above: 3),
    ]
    let stream = UCSPIStream(try UCSPIChannels { numbers[$0].map(String.init) }, keepsControl: false)
    guard case .wouldBlock = stream.handshake() else { throw Falsified("an answer before the helper's") }
    var rest = octets[...]
    while !rest.isEmpty {
      let sent = try rest.withUnsafeBytes { try Kernel.send(control.second.number, $0, 0x4000 | 0x40) }
      rest = rest.dropFirst(sent)
    }
    let answer = stream.handshake()
    switch (wanted, answer) {
    case (.incomplete, .wouldBlock), (.refused, .failed): break
    case (.complete(let environment), .established): try check(stream.facts, environment)
    default: throw Falsified("\(answer) for \(wanted)")
    }
  }

  /// The helper is another program: of its words only those that are words get into a log.
  private static func check(_ facts: TLSFacts, _ environment: UCSPIEnvironment) throws {
    func value(_ name: String) -> String? { environment.variables.last { $0.name == name }?.value }
    for (word, name) in [(facts.version, "SSL_PROTOCOL"), (facts.cipher, "SSL_CIPHER")] where word != value(name) {
      let isPlain = value(name).map { !$0.isEmpty && $0.utf8.count <= 64 && $0.allSatisfy { isWord($0) } } ?? false
      if word != "?" || isPlain { throw Falsified("\(word) for \(value(name) ?? "nothing")") }
    }
    let words = [facts.version, facts.cipher, facts.serverName ?? "-"]
    for word in words where word.isEmpty || word.utf8.contains(where: { $0 <= 0x20 || $0 >= 0x7F || $0 == 0x22 }) {
      throw Falsified("a word for the log: \(word)")
    }
  }
}
