// StateText: texts and numbers as netstrings, written to and read from a file in memory.

import CKernel
import Glibc
import Transport

struct StateText {
  private(set) var octets: [UInt8] = []
  private var position = 0

  init() {}

  init(_ octets: [UInt8]) { self.octets = octets }

  mutating func add(_ texts: String...) {
    for text in texts { octets += Array("\(text.utf8.count):".utf8) + Array(text.utf8) + [UInt8(ascii: ",")] }
  }

  mutating func add(_ numbers: Int...) {
    for number in numbers { add("\(number)") }
  }

  /// The next text; nil if there is none.
  mutating func text() -> String? {
    guard let colon = octets[position...].firstIndex(of: UInt8(ascii: ":")),
      let count = Int(String(decoding: octets[position..<colon], as: UTF8.self)), count >= 0, count < octets.count - colon - 1,
      octets[colon + 1 + count] == UInt8(ascii: ",")
    else { return nil }
    position = colon + count + 2
    return String(decoding: octets[(colon + 1)..<(colon + 1 + count)], as: UTF8.self)
  }

  mutating func number() -> Int? { text().flatMap { Int($0) }.flatMap { $0 >= -1 && $0 < 1 << 31 ? $0 : nil } }

  /// The number of an open descriptor. It becomes close-on-exec.
  mutating func descriptor() -> CInt? {
    guard let number = number(), number > 2, (try? Kernel.control(CInt(number), F_SETFD, FD_CLOEXEC)) != nil else { return nil }
    return CInt(number)
  }

  // MARK: Files

  /// A file in memory with these octets.
  static func file(_ octets: [UInt8]) throws(SystemError) -> Descriptor {
    let number = kernel_memory_file("starttlsd")
    guard number >= 0 else { throw SystemError.last("memfd_create") }
    let file = Descriptor(adopting: number)
    var written = 0
    while written < octets.count {
      let count = octets[written...].withUnsafeBytes { write(number, $0.baseAddress, $0.count) }
      guard count > 0 else { throw SystemError.last("write") }
      written += count
    }
    return file
  }

  /// The contents of a file, from its beginning.
  static func contents(_ file: consuming Descriptor) -> [UInt8]? {
    guard lseek(file.number, 0, SEEK_SET) == 0 else { return nil }
    var octets: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = read(file.number, &buffer, buffer.count)
      guard count >= 0 else { return nil }
      if count == 0 { return octets }
      octets += buffer[..<count]
    }
  }
}
