// AccessFile: a file of rules. All of it is read at once, because the look-up of a client must not wait for a disk.
//
// It must be a regular file: with a FIFO the reader would wait for a writer.

import Glibc
package import Transport

/// The file of the rules.
package struct AccessFile: Hashable, Sendable {
  /// The largest file that is read, in octets. In a cdb file of this size each position has three octets and a NUL.
  package static let sizeLimit = 0xFF_FFFF

  package let path: String

  package init(path: String) {
    self.path = path
  }

  /// Reads the rules.
  ///
  /// - Parameters:
  ///   - isReserved: true for a name of a variable that no rule may set.
  ///   - open: opens the file; nil to open it by its path.
  package func load(
    isReserved: @escaping (Substring) -> Bool, open: (() throws(SystemError) -> Descriptor)? = nil
  ) throws(AccessRulesError) -> AccessRules {
    let octets: [UInt8]
    do throws(SystemError) {
      let descriptor = if let open { try open() } else { Descriptor(adopting: try Kernel.open(path, O_RDONLY | O_NONBLOCK)) }
      octets = try AccessFile.content(of: descriptor.number)
    } catch {
      throw AccessRulesError(description: "\(path): \(error)")
    }
    guard octets.count <= AccessFile.sizeLimit else {
      throw AccessRulesError(description: "\(path) has more than \(AccessFile.sizeLimit) octets")
    }
    return try AccessRules(octets, name: path, isReserved: isReserved)
  }

  /// The content, one octet more than the limit at most.
  private static func content(of number: CInt) throws(SystemError) -> [UInt8] {
    var status = stat()
    guard fstat(number, &status) == 0 else { throw SystemError.last("fstat") }
    guard status.st_mode & S_IFMT == S_IFREG else { throw SystemError("open a regular file", EINVAL) }
    var octets: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while octets.count <= sizeLimit {
      let count = read(number, &buffer, buffer.count)
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw SystemError.last("read") }
      if count == 0 { break }
      octets += buffer[..<count]
    }
    return octets
  }
}
