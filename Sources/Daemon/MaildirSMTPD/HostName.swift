// HostName: the name of the server.

import Glibc

/// Names of this host.
enum HostName {
  /// True if `name` consists of 1 to 253 letters, digits, hyphens, underscores and dots: safe in a reply, a header line
  /// and a file name.
  static func isValid(_ name: String) -> Bool {
    (1...253).contains(name.utf8.count)
      && name.utf8.allSatisfy { octet in
        octet.isLetter || octet.isDigit || octet == UInt8(ascii: "-") || octet == UInt8(ascii: "_")
          || octet == Octet.dot
      }
  }

  /// The system's host name, or `localhost` if it is not valid.
  static func ofSystem() -> String {
    var buffer = [CChar](repeating: 0, count: 256)
    let failed = gethostname(&buffer, buffer.count - 1) != 0
    let name = String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    return !failed && isValid(name) ? name : "localhost"
  }
}
