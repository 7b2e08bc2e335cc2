// FileContents: the octets of a file in the reading process, wiped when the value ends.

import CKernel
import Glibc
import Transport

final class FileContents {
  /// The permission bits of the file.
  let mode: mode_t
  private let storage: UnsafeMutableRawBufferPointer
  private var count = 0
  /// The number of octets.
  var length: Int { count }

  /// Reads a file to its end, or to a limit.
  init(_ file: consuming Descriptor, limit: Int) throws(SystemError) {
    mode = try Kernel.status(file.number).st_mode & 0o777
    // At full size: growing the buffer would leave copies of a key in memory.
    storage = UnsafeMutableRawBufferPointer.allocate(byteCount: limit, alignment: 16)
    while count < limit {
      let moved = try Kernel.read(file.number, UnsafeMutableRawBufferPointer(rebasing: storage[count...]))
      if moved == 0 { break }
      count += moved
    }
  }

  deinit {
    wipe(from: 0)
    storage.deallocate()
  }

  /// Removes the private keys.
  func keepPublicPart() {
    let kept = PublicPart.keep(in: UnsafeMutableRawBufferPointer(rebasing: storage[..<count]))
    wipe(from: kept)
    count = kept
  }

  /// A sealed file in memory with these octets, at its start, with the same permission bits.
  func copy() throws(SystemError) -> Descriptor {
    let number = kernel_memory_file("credentials")
    guard number >= 0 else { throw .last("memfd_create") }
    let memory = Descriptor(adopting: number)
    var rest = UnsafeRawBufferPointer(rebasing: storage[..<count])
    while !rest.isEmpty {
      rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(try Kernel.write(memory.number, rest)))
    }
    try Kernel.setMode(memory.number, mode)
    guard kernel_seal(memory.number) == 0, lseek(memory.number, 0, SEEK_SET) == 0 else { throw .last("fcntl") }
    return memory
  }

  private func wipe(from start: Int) {
    explicit_bzero(storage.baseAddress! + start, count - start)
  }
}
