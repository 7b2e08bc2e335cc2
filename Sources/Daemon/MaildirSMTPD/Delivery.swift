// Delivery: one message on its way to a Maildir.
//
// Order: the file in `tmp` is written, its octets are on disk (fsync), it gets its name in `new` (rename), that name is
// on disk (fsync of the folder); only then is the message the server's responsibility. A crash at any moment leaves a
// whole message in `new` or none.
//
// Failure: each step's SystemError; the file is then removed wherever it is. Whoever holds a delivery ends it with
// `commit` or `abandon`.

import Glibc
public import Transport

/// A message that is being stored.
public struct Delivery: ~Copyable, Sendable {
  /// The file's name, unique on this host.
  public let name: String
  /// The octets written so far.
  public private(set) var size = 0

  private let temporaryPath: String
  private let path: String
  private let file: Descriptor
  /// The folder `new`.
  private let folder: Descriptor

  /// Makes the file in `tmp`.
  init(in maildir: String, named name: String, to folder: consuming Descriptor) throws(SystemError) {
    self.name = name
    self.temporaryPath = maildir + "/tmp/" + name
    self.path = maildir + "/new/" + name
    self.folder = folder
    self.file = Descriptor(adopting: try Kernel.open(temporaryPath, O_WRONLY | O_CREAT | O_EXCL, mode: 0o600))
  }

  /// Adds octets to the message. After an error the message is lost: abandon it.
  public mutating func write(_ octets: [UInt8]) throws(SystemError) {
    var rest = octets[...]
    while !rest.isEmpty {
      // A typed error does not pass through the closure; the answer does.
      let answer = rest.withUnsafeBytes { bytes in
        IOResult(writing: bytes.count) { () throws(SystemError) in try Kernel.write(file.number, bytes) }
      }
      switch answer {
      case .moved(let count) where count > 0:
        rest = rest.dropFirst(count)
        size += count
      case .failed(let error): throw error
      case .moved, .wouldBlock, .ended: throw SystemError("write", EIO)
      }
    }
  }

  /// Makes the message durable.
  ///
  /// - Returns: the file's name in `new`.
  public consuming func commit() throws(SystemError) -> String {
    do throws(SystemError) {
      try Kernel.sync(file.number)
      try Kernel.rename(temporaryPath, path)
    } catch {
      try? Kernel.unlink(temporaryPath)
      throw error
    }
    do throws(SystemError) {
      try Kernel.sync(folder.number)
    } catch {
      // The client will be told to send the message again: it must not be there twice.
      try? Kernel.unlink(path)
      throw error
    }
    return name
  }

  /// Removes what was stored.
  public consuming func abandon() {
    try? Kernel.unlink(temporaryPath)
  }
}
