// Engine: the TLS engine's program, and what would keep it from working.
//
// `tlsd-io` stands beside this program or in PATH; another one, for example s6-tlsd-io, is named by --engine. It is
// called as `tlsd-io [options] [-d control] -- reading writing`.

import Glibc
import Transport

/// Why there can be no TLS, known before anybody asks for it.
struct Obstacle: Error, CustomStringConvertible {
  let code: ExitCode
  let description: String
}

/// The TLS engine, found and ready to be executed.
struct Engine {
  let path: String
  private let arguments: [String]

  /// Finds the program and checks what it will need.
  init(_ options: Options) throws(Obstacle) {
    path = try Engine.find(options.engine)
    arguments = options.helper.arguments
    if options.helper.serverNameLevel < 2 {
      try Engine.check("CERTFILE")
      try Engine.check("KEYFILE")
    }
  }

  /// Executes it; comes back only on failure, with `errno`.
  func execute(_ ends: borrowing ChannelEnds, isReporting: Bool) {
    var words = [path] + arguments
    if isReporting { words += ["-d", "\(ends.control.number)"] }
    words += ["--", "\(ends.reading.number)", "\(ends.writing.number)"]
    let list = words.map { strdup($0) } + [nil]
    execv(path, list)
  }

  private static func find(_ named: String?) throws(Obstacle) -> String {
    let name = named ?? "tlsd-io"
    if name.contains("/") {
      if access(name, X_OK) == 0 { return name }
      let error = SystemError.last("access")
      throw Obstacle(code: error.code == ENOENT ? .notFound : .notExecutable, description: "\(name): \(error)")
    }
    var folders = getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin"
    if named == nil, let own = ownFolder() { folders = "\(own):\(folders)" }
    for folder in folders.split(separator: ":") {
      let path = "\(folder)/\(name)"
      if access(path, X_OK) == 0 { return path }
    }
    throw Obstacle(code: .notFound, description: "\(name): not found in \(folders): see --engine")
  }

  /// The folder of this program's file.
  private static func ownFolder() -> String? {
    let path = withUnsafeTemporaryAllocation(of: UInt8.self, capacity: Int(PATH_MAX)) { buffer -> String? in
      let count = buffer.withMemoryRebound(to: CChar.self) {
        readlink("/proc/self/exe", $0.baseAddress!, $0.count)
      }
      return count > 0 ? String(decoding: buffer.prefix(count), as: UTF8.self) : nil
    }
    guard let path, let slash = path.lastIndex(of: "/") else { return nil }
    return String(path[..<slash])
  }

  /// Whether a variable names a file that can be read.
  private static func check(_ variable: String) throws(Obstacle) {
    guard let value = getenv(variable) else {
      throw Obstacle(code: .usage, description: "\(variable) is not set: TLS is not available")
    }
    guard access(value, R_OK) == 0 else {
      let error = SystemError.last("access")
      throw Obstacle(
        code: .configuration, description: "\(variable) \(String(cString: value)): \(error): TLS is not available")
    }
  }
}
