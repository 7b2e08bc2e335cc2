// ProcessMemory: whether the memory of a process contains some octets. It needs root.

import Foundation
import Glibc

enum ProcessMemory {
  /// Looks in everything that the process may read: heap, stacks, data of libraries, mapped files.
  ///
  /// - Returns: the indices of those patterns that are there.
  static func find(_ patterns: [[UInt8]], in process: pid_t) throws -> Set<Int> {
    let maps = ProcessTable.text("/proc/\(process)/maps")
    guard maps.contains("[stack]") else { throw Failure("not all of the memory of \(process) is known: \(maps)") }
    let memory = open("/proc/\(process)/mem", O_RDONLY | O_CLOEXEC)
    guard memory >= 0 else { throw Failure("/proc/\(process)/mem: \(String(cString: strerror(errno)))") }
    defer { close(memory) }
    var found: Set<Int> = []
    var read = 0
    for line in maps.split(separator: "\n") where !line.contains("[v") {
      let words = line.split(separator: " ")
      let ends = words[0].split(separator: "-").compactMap { UInt($0, radix: 16) }
      guard words[1].hasPrefix("r"), ends.count == 2 else { continue }
      var octets = [UInt8](repeating: 0, count: Int(ends[1] - ends[0]))
      let count = pread(memory, &octets, octets.count, off_t(ends[0]))
      guard count > 0 else { continue }
      read += count
      let data = Data(octets[..<count])
      for (index, pattern) in patterns.enumerated() where !found.contains(index) {
        if data.range(of: Data(pattern)) != nil { found.insert(index) }
      }
    }
    guard read > 1 << 20 else { throw Failure("only \(read) octets of the memory of \(process) could be read") }
    return found
  }
}

/// Key files of all kinds, and their secret octets as they may be in memory.
struct SecretKey {
  enum Kind: CaseIterable { case elliptic, plain, edwards }

  let kind: Kind
  let certificate: Certificate
  /// A secret number in the order of DER, the same in the order of GMP's limbs, and a line of the file.
  let patterns: [[UInt8]]

  init(_ kind: Kind, in folder: TestFolder, _ run: ([String]) throws -> Void) throws {
    self.kind = kind
    let path = "\(folder.path)/\(kind)"
    certificate = Certificate(certificate: path + ".pem", key: path + ".key")
    let options: [String] =
      switch kind {
      case .elliptic: ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
      case .plain: ["rsa:2048"]
      case .edwards: ["ed25519"]
      }
    try run(
      ["openssl", "req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=mx.example", "-keyout", certificate.key, "-out"]
        + [certificate.certificate, "-newkey"] + options)
    // SEC 1 and PKCS #1 show the numbers at fixed places.
    let form = kind == .edwards ? [] : ["-traditional"]
    try run(["openssl", "pkey", "-in", certificate.key, "-outform", "DER", "-out", path + ".der"] + form)
    let octets = Array(try Data(contentsOf: URL(fileURLWithPath: path + ".der")))
    let number: [UInt8]
    switch kind {
    case .elliptic: number = Array(octets[7..<39])
    case .plain: number = SecretKey.integers(octets)[4]
    case .edwards: number = Array(octets.suffix(32))
    }
    // Without the ends: a number may be stored with zeros before it.
    let middle = Array(number.dropFirst(4).dropLast(4))
    let lines = try String(contentsOfFile: certificate.key, encoding: .utf8).split(separator: "\n")
    patterns = [middle, middle.reversed(), Array(lines[1].utf8)]
  }

  /// The integers of a SEQUENCE.
  private static func integers(_ octets: [UInt8]) -> [[UInt8]] {
    var found: [[UInt8]] = []
    var index = 4
    while index < octets.count {
      var (length, start) = (Int(octets[index + 1]), index + 2)
      if length >= 0x80 {
        let count = length & 0x7F
        length = octets[start..<(start + count)].reduce(0) { $0 << 8 | Int($1) }
        start += count
      }
      found.append(Array(octets[start..<(start + length)]))
      index = start + length
    }
    return found
  }
}
