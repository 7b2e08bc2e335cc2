// CheckCollection: the checks, from the program itself or from a folder.
//
// The checks of Fixtures/checks are part of the program (EmbeddedChecks.swift), so that one file is enough to check a server.
// A folder is for checks that are being written.

import Glibc
import SMTPProbe

struct CheckCollection {
  var checks: [Check]

  /// The checks of the program, in the order of the groups.
  static func embedded() throws(CheckFailure) -> CheckCollection {
    try parsed(EmbeddedChecks.all)
  }

  /// The checks of a folder, `folder/group/name.check`.
  static func read(_ folder: String) throws(CheckFailure) -> CheckCollection {
    var files: [(String, String)] = []
    for group in Check.Group.allCases {
      guard let directory = opendir("\(folder)/\(group.rawValue)") else { continue }
      defer { closedir(directory) }
      while let entry = readdir(directory) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
          $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        guard name.hasSuffix(".check"), !name.hasPrefix(".") else { continue }
        let identifier = "\(group.rawValue)/\(name.dropLast(".check".count))"
        files.append((identifier, try text("\(folder)/\(identifier).check")))
      }
    }
    guard !files.isEmpty else {
      throw CheckFailure("\(folder): there is no check: files are named GROUP/NAME.check", ExitCode.usage)
    }
    return try parsed(files.sorted { $0.0 < $1.0 })
  }

  private static func parsed(_ files: [(String, String)]) throws(CheckFailure) -> CheckCollection {
    var checks: [Check] = []
    for (identifier, text) in files {
      do {
        checks.append(try CheckParser.parse(text, identifier: identifier))
      } catch {
        throw CheckFailure("\(error)", ExitCode.usage)
      }
    }
    let groups = Check.Group.allCases
    return CheckCollection(checks: groups.flatMap { group in checks.filter { $0.group == group } })
  }

  private static func text(_ path: String) throws(CheckFailure) -> String {
    guard let file = fopen(path, "re") else { throw CheckFailure("\(path): \(String(cString: strerror(errno)))", ExitCode.usage) }
    defer { fclose(file) }
    var octets: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while octets.count < 1 << 20 {
      let count = fread(&buffer, 1, buffer.count, file)
      guard count > 0 else { break }
      octets += buffer.prefix(count)
    }
    return String(decoding: octets, as: UTF8.self)
  }

  /// Those that one of the patterns names: `group`, `group/name`, or the beginning of one that ends with `*`.
  func only(_ patterns: [String]) throws(CheckFailure) -> CheckCollection {
    guard !patterns.isEmpty else { return self }
    var chosen = Set<String>()
    for pattern in patterns {
      let found = checks.filter { check in
        pattern.hasSuffix("*")
          ? check.identifier.hasPrefix(String(pattern.dropLast())) : check.identifier == pattern || check.group.rawValue == pattern
      }
      guard !found.isEmpty else { throw CheckFailure("--only \(pattern): no check has this name; see --list", ExitCode.usage) }
      chosen.formUnion(found.map(\.identifier))
    }
    return CheckCollection(checks: checks.filter { chosen.contains($0.identifier) })
  }
}
