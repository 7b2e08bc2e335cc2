// Engine: the program of the TLS engine, and the checks before it is needed.
//
// `tlsd-io` is in the folder of this program or in PATH; --engine names another one, for example s6-tlsd-io. It is
// executed as `tlsd-io [options] [-d control] -- reading writing`.

import Glibc
import ProgramSupport
import Transport

/// Why TLS is not available, known before the server program requests it.
struct Obstacle: Error, CustomStringConvertible {
  let code: ExitCode
  let description: String
}

/// The TLS engine, found and ready to be executed.
///
/// Most sessions never use it: until then no String is created that needs memory.
struct Engine {
  /// The path of the program. It is not freed: the process ends or executes it.
  let path: UnsafeMutablePointer<CChar>
  private let options: TLSHelperOptions

  /// Finds the program and checks what it will need.
  init(_ options: Options) throws(Obstacle) {
    path = try Engine.find(options.engine)
    self.options = options.helper
    if options.helper.serverNameLevel < 2 {
      try Engine.check("CERTFILE")
      try Engine.check("KEYFILE")
    }
  }

  /// Executes it; returns only on failure, with `errno`.
  func execute(_ ends: borrowing ChannelEnds, isReporting: Bool) {
    var words = [String(cString: path)] + options.arguments
    if isReporting { words += ["-d", "\(ends.control.number)"] }
    words += ["--", "\(ends.reading.number)", "\(ends.writing.number)"]
    let list = words.map { strdup($0) } + [nil]
    execv(path, list)
  }

  private static func find(_ named: String?) throws(Obstacle) -> UnsafeMutablePointer<CChar> {
    guard let named else {
      if let own = beside("tlsd-io") { return own }
      return try search("tlsd-io")
    }
    guard named.contains("/") else { return try search(named) }
    if access(named, X_OK) == 0 { return strdup(named) }
    let error = SystemError.last("access")
    throw Obstacle(code: error.code == ENOENT ? .notFound : .notExecutable, description: "\(named): \(error)")
  }

  private static func search(_ name: String) throws(Obstacle) -> UnsafeMutablePointer<CChar> {
    let folders = ProcessEnvironment.value("PATH") ?? "/usr/bin:/bin"
    for folder in folders.split(separator: ":") {
      let path = "\(folder)/\(name)"
      if access(path, X_OK) == 0 { return strdup(path) }
    }
    throw Obstacle(code: .notFound, description: "\(name): not found in \(folders): see --engine")
  }

  /// The program with this name in the folder of this program.
  private static func beside(_ name: StaticString) -> UnsafeMutablePointer<CChar>? {
    let limit = Int(PATH_MAX)
    let path = UnsafeMutablePointer<CChar>.allocate(capacity: limit + name.utf8CodeUnitCount + 1)
    var end = max(0, readlink("/proc/self/exe", path, limit))
    while end > 0, path[end - 1] != CChar(bitPattern: UInt8(ascii: "/")) { end -= 1 }
    memcpy(path + end, name.utf8Start, name.utf8CodeUnitCount + 1)
    if end > 0, access(path, X_OK) == 0 { return path }
    path.deallocate()
    return nil
  }

  /// Checks that a variable names a readable file.
  private static func check(_ variable: StaticString) throws(Obstacle) {
    guard let value = ProcessEnvironment.characters(variable) else {
      throw Obstacle(code: .usage, description: "\(variable) is not set: TLS is not available")
    }
    guard access(value, R_OK) == 0 else {
      let error = SystemError.last("access")
      throw Obstacle(
        code: .configuration, description: "\(variable) \(String(cString: value)): \(error): TLS is not available")
    }
  }
}
