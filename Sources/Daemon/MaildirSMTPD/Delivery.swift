// Delivery: stores one message in a Maildir.
//
// Order: the file in `tmp` is written; its octets are synchronised to disk (fsync); it is moved to `new` (rename); the
// folder is synchronised (fsync). Only then is the server responsible for the message. After a crash at any time `new`
// contains the complete message or none.
//
// Failure: the SystemError of the step; the file is then removed. If a file in `new` cannot be removed, the error says so.
// The owner of a delivery ends it with `commit` or `abandon`.

import Glibc
public import Transport

/// A message that could not be made durable.
public struct DeliveryError: Error, Hashable, Sendable {
  /// The step that failed.
  public let cause: SystemError
  /// The message's file in `new`, and why it could not be removed; nil if no file is left. A mail reader shows the file, and the client
  /// sends the message again.
  public let remaining: RemainingFile?

  /// A file that could not be removed.
  public struct RemainingFile: Hashable, Sendable {
    /// Its path.
    public let path: String
    /// Why it could not be removed.
    public let cause: SystemError
  }
}

/// A message being stored.
public struct Delivery: ~Copyable, Sendable {
  /// The file's name, unique on this host.
  public let name: String
  /// The number of octets written so far.
  public private(set) var size = 0

  private let temporaryPath: String
  private let path: String
  private let file: Descriptor
  /// The folder `new`.
  private let folder: Descriptor

  /// Creates the file in `tmp`.
  init(in maildir: String, named name: String, to folder: consuming Descriptor) throws(SystemError) {
    self.name = name
    self.temporaryPath = maildir + "/tmp/" + name
    self.path = maildir + "/new/" + name
    self.folder = folder
    self.file = Descriptor(adopting: try Kernel.open(temporaryPath, O_WRONLY | O_CREAT | O_EXCL, mode: 0o600))
  }

  /// Appends octets to the message. After an error the message is lost: call `abandon`.
  public mutating func write(_ octets: [UInt8]) throws(SystemError) {
    var rest = octets[...]
    while !rest.isEmpty {
      // A typed error does not pass through the closure, so the result carries it.
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
  /// - Returns: the name of the file in `new`.
  public consuming func commit() throws(DeliveryError) -> String {
    do throws(SystemError) {
      try Kernel.sync(file.number)
      try Kernel.rename(temporaryPath, path)
    } catch {
      try? Kernel.unlink(temporaryPath)
      throw DeliveryError(cause: error, remaining: nil)
    }
    do throws(SystemError) {
      try Kernel.sync(folder.number)
    } catch {
      throw DeliveryError(cause: error, remaining: removeDelivered())
    }
    return name
  }

  /// The client will get a reply to send the message again: the message must not be stored twice.
  private borrowing func removeDelivered() -> DeliveryError.RemainingFile? {
    do throws(SystemError) {
      try Kernel.unlink(path)
      return nil
    } catch {
      return DeliveryError.RemainingFile(path: path, cause: error)
    }
  }

  /// Removes what was stored.
  public consuming func abandon() {
    try? Kernel.unlink(temporaryPath)
  }
}
